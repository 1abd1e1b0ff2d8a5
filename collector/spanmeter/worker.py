"""Assembly and delivery on one data folder: one process at a time does them, whichever holds the lock."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from spanmeter.clock import CautiousClock, Clock, SystemClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.settler import Settler
from spanmeter.errors import SpanmeterError, StoreBusyError, StoreError
from spanmeter.logs import Complaints
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reading import ServiceReader
from spanmeter.pipeline.assembler import Assembler
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.lock import FileLock
from spanmeter.store.retention import Retention
from spanmeter.store.trouble import WORKER_LOCK_NAME
from spanmeter.wiring import make_assembler, make_courier, make_settler

log = logging.getLogger("spanmeter.worker")

LOOK_EVERY_S = 0.2
"""How often assembly looks into the journal, and so what a decision may be late by, where little is to be decided."""
LOOK_AT_LEAST_EVERY_S = 1.0
"""How often where it is much: a call costs the less the more are decided at once."""
REST = 10
"""Between two looks it waits so many times what the last one took, within these bounds."""
LOCK_EVERY_S = 1.0
DELIVERER_LOCK_NAME = "deliverer.lock"
PRUNE_EVERY_S = 60.0
NS = 1_000_000_000


class Worker:
    """Runs assembly, delivery and settlement, each in a thread, while this process holds the folder's lock, and waits
    for the lock otherwise: then another process (a collector, another plug-in) does the work for all.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        clock: Clock | None = None,
        make_thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        """`make_thread` takes what `threading.Thread` does: a guest runs its threads apart from its host's tracing."""
        self._settings = settings
        self._make_thread = make_thread
        self._database = database
        self._clock = clock or SystemClock()
        self._lock = FileLock(settings.data_dir / WORKER_LOCK_NAME)
        # Shared by all processes that have a service to send to. One that has none keeps its hands off while there is
        # one that has: it would decide that the other's events are for nobody.
        self._mark = FileLock(settings.data_dir / DELIVERER_LOCK_NAME, shared=settings.delivers)
        self._stop = threading.Event()
        self._thread = make_thread(target=self._run, name="spanmeter-assembly", daemon=True)
        self._client: EventsClient | None = None
        self._courier: Courier | None = None
        self._courier_thread: threading.Thread | None = None
        self._problem = ""
        self._assembler: Assembler | None = None
        self._journal = SqliteJournal(database)
        self._last_left = 0
        day_ns = 86_400 * NS
        self._retention = Retention(
            database, body_ns=int(settings.keep_bodies_days * day_ns), ledger_ns=int(settings.keep_ledger_days * day_ns)
        )
        self._cautious = CautiousClock(self._clock)
        self._prune_s = self._clock.monotonic() + PRUNE_EVERY_S
        self._complaints = Complaints(log, clock=self._clock)
        self._settler: tuple[ServiceReader, Settler] | None = None
        self._has_clients = False
        self._settler_thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the threads run that should."""
        courier = self._courier_thread
        return self._thread.is_alive() and (courier is None or courier.is_alive())

    @property
    def problem(self) -> str:
        """Why assembly cannot work now, empty if it can. It looks at the store all the time, also when nobody sends."""
        return self._problem

    def stop(self, *, close: bool, timeout_s: float) -> None:
        """Stop the threads, then send what is pending until `timeout_s` is over. What is left stays on disk.

        With `close`, traces that are whole are decided first: for a process whose own spans have all ended.
        """
        until_s = time.monotonic() + timeout_s
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(max(0.1, until_s - time.monotonic()))
        if self._courier_thread is not None:
            self._courier_thread.join(max(0.1, until_s - time.monotonic()))
        try:
            if self._thread.is_alive() or not self._is_mine():
                return
            if close:
                self._step_all(until_s=until_s)
            self._make_clients()
            if self._courier is not None:
                left = self._courier.drain(max(0.0, until_s - time.monotonic()))
                if left:
                    log.info("%d events wait on disk for the next start", left)
        except SpanmeterError as error:
            log.error("while stopping: %s", error)
        finally:
            self._lock.release()
            self._mark.release()
            if self._client is not None:
                self._client.close()
            self._stop_settler(until_s)

    def _stop_settler(self, until_s: float) -> None:
        """Last, so that a slow answer takes no time from sending; one that never comes is left to the process's end."""
        if self._settler_thread is not None:
            self._settler_thread.join(max(0.1, until_s - time.monotonic()))
        if self._settler is not None and (self._settler_thread is None or not self._settler_thread.is_alive()):
            self._settler[0].close()

    def _run(self) -> None:
        wait_s = 0.0
        told = False
        begun_s = self._clock.monotonic()
        while not self._stop.wait(wait_s):
            try:
                if not self._is_mine():
                    if not told:
                        log.info("another process assembles and delivers for this data folder")
                        told = True
                    wait_s = LOCK_EVERY_S
                    continue
                self._make_clients()
                if self._courier is not None and self._courier_thread is None:
                    self._courier_thread = self._make_thread(
                        target=self._courier.run, args=(self._stop,), name="spanmeter-delivery", daemon=True
                    )
                    self._courier_thread.start()
                if self._settler is not None and self._settler_thread is None:
                    self._settler_thread = self._make_thread(
                        target=self._settler[1].run, args=(self._stop,), name="spanmeter-settlement", daemon=True
                    )
                    self._settler_thread.start()
                wait_s = 0.0 if self._step() else _rest_s(self._clock.monotonic() - begun_s)
                if wait_s:
                    begun_s = self._clock.monotonic() + wait_s
                self._problem = ""
            except StoreError as error:
                if not isinstance(error, StoreBusyError):  # that passes; where it does not, the intake says so
                    self._problem = error.message
                self._complaints.tell(logging.ERROR, "assembly: %s (%s)", error, error.hint or "tried again")
                wait_s = LOCK_EVERY_S
            except Exception as error:  # noqa: BLE001 - the thread's edge: money waits on disk, a person must look
                self._complaints.tell(logging.ERROR, "assembly stands still, nothing is lost", error=error)
                wait_s = 10 * LOCK_EVERY_S

    def _make_clients(self) -> None:
        """In the process that does the work, and not before: reading the certificates takes a tenth of a second."""
        if not self._has_clients:
            settler = make_settler(self._settings, self._database, self._clock)
            if self._settings.delivers:
                self._client, self._courier = make_courier(
                    self._settings, self._database, self._clock, make_thread=self._make_thread
                )
            self._settler, self._has_clients = settler, True

    def _is_mine(self) -> bool:
        """Whether this process does the work now."""
        if self._settings.delivers:
            self._mark.acquire()
        elif self._mark.acquire():
            self._mark.release()
        else:
            self._lock.release()
            self._assembler = (
                None  # who takes over begins at the journal's beginning, and so do we, should we come back
            )
            return False
        return self._lock.acquire()

    def _step(self, *, close: bool = False) -> bool:
        if self._assembler is None:
            self._tell_local_only()
            self._last_left = self._journal.last_left()
            self._assembler = make_assembler(self._settings, self._database, self._clock)
        more = self._assembler.step(close=close)
        if not more and self._clock.monotonic() >= self._prune_s:
            last_left = self._journal.last_left()
            if last_left > self._last_left:
                self._assembler = None  # rows of an earlier version's process, which are read at the beginning
            self._last_left = last_left
            if self._retention.step(self._cautious.now_ns()):
                return True
            self._prune_s = self._clock.monotonic() + PRUNE_EVERY_S
        return more

    def _tell_local_only(self) -> None:
        [(count,)] = self._database.execute("local_depth")
        if count and self._settings.delivers:
            log.warning(
                "%d events were recorded while there was no service to send to: `spanmeter replay --local` sends them",
                count,
            )

    def _step_all(self, *, until_s: float) -> None:
        while self._step(close=True) and time.monotonic() < until_s:
            pass


def _rest_s(took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return min(max(LOOK_EVERY_S, REST * took_s), LOOK_AT_LEAST_EVERY_S)


def is_delivered_from(data_dir: Path, database: Database) -> bool:
    """Whether a process that has a service works on this folder, or has done so: then what is billed from a shell that
    knows of none waits for that one."""
    mark = FileLock(data_dir / DELIVERER_LOCK_NAME)
    if not mark.acquire():
        return True
    mark.release()
    return "delivery_state" in dict(database.execute("fact_read"))
