"""`serve` and `deliver`: the long-running commands."""

import queue
import signal

import click


class _StopSignals:
    """SIGTERM and Ctrl-C, from when this is made.

    Not an Event: its `set`, in a handler that interrupts the main thread inside its `wait`, waits for ever for a lock
    that this very thread holds. `SimpleQueue.put` may interrupt anything.
    """

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._came.put(number))

    def came_within(self, timeout_s: float) -> bool:
        """Waits for one."""
        try:
            self._came.get(timeout=timeout_s)
        except queue.Empty:
            return False
        return True


@click.command()
def serve() -> None:
    """Receive OTLP traces, and send usage events until SIGTERM or Ctrl-C.

    A request is acknowledged when what it may bill is on disk. Without KONNECT_TOKEN or SPANMETER_ENDPOINT, usage is
    recorded in the local ledger only.
    """
    import os

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.heap import collect_rarely, hold_little
    from spanmeter.logs import log_to_stderr
    from spanmeter.service import Service

    hold_little()
    collect_rarely()
    settings = settings_from_environment()
    log_to_stderr(settings.log_level)
    stop = _StopSignals()
    service = Service(settings)
    service.start()
    collect_rarely()  # what was loaded since stays, too
    click.echo(f"spanmeter {os.getpid()} is ready", err=True)
    while not stop.came_within(1.0):
        pass  # bounded: a signal that the system gives to another thread does not end a wait of this one
    service.stop()
    click.echo("spanmeter has stopped", err=True)


@click.command()
@click.option("--until-empty", is_flag=True, help="End when nothing is left to decide or to send.")
def deliver(until_empty: bool) -> None:
    """Assemble and deliver what plug-ins or a stopped collector left in SPANMETER_DATA_DIR, without listening.

    Runs beside any number of plug-ins on the same folder; one process at a time does the work.
    """
    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.heap import collect_rarely, hold_little
    from spanmeter.logs import log_to_stderr
    from spanmeter.store.database import Database
    from spanmeter.store.journal import SqliteJournal
    from spanmeter.store.outbox import SqliteOutbox
    from spanmeter.worker import Worker

    hold_little()
    collect_rarely()
    settings = settings_from_environment()
    log_to_stderr(settings.log_level)
    database = Database.open(settings.data_dir)
    stop = _StopSignals()
    worker = Worker(settings, database)
    worker.start()
    journal, outbox = SqliteJournal(database), SqliteOutbox(database)
    while not stop.came_within(0.5):
        if until_empty and not journal.depth() and not outbox.depth():
            break
    worker.stop(close=False, timeout_s=settings.shutdown_s)
    left = outbox.depth()
    database.close()
    if left:
        click.echo(f"{left} events are still waiting to be sent", err=True)
        raise SystemExit(1)
