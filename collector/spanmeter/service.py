"""`spanmeter serve`: everything started in order and stopped in reverse."""

import logging
import threading

from spanmeter.clock import SystemClock
from spanmeter.companions.supervision import Companion
from spanmeter.errors import SettingsError, StoreBusyError
from spanmeter.receiver.ports import port_to_share
from spanmeter.receiving import Receiving, cannot_listen
from spanmeter.settings import Settings
from spanmeter.store.checkpoints import Checkpoints
from spanmeter.store.database import Database
from spanmeter.store.lock import FileLock
from spanmeter.wiring import configured_events_url
from spanmeter.worker import Worker

log = logging.getLogger("spanmeter.service")


class Service:
    """The collector: this process receives, assembles and delivers; its companions, if it has any, receive as it does.
    `start`, then `stop`; neither may be called twice.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._worker: Worker | None = None
        self._receiving: Receiving | None = None
        self._companions: list[Companion] = []
        self._checkpoints: Checkpoints | None = None
        self._database: Database | None = None
        self._lock: FileLock | None = None

    def start(self) -> None:
        """Open the data folder, start assembly and delivery, then listen. On an error all is stopped again."""
        settings = self._settings
        if settings.otlp_grpc is None and settings.otlp_http is None:
            raise SettingsError(["SPANMETER_OTLP_GRPC, SPANMETER_OTLP_HTTP: both are off, there is nothing to serve"])
        try:
            self._database = Database.open(settings.data_dir)
            self._lock = FileLock(settings.data_dir / "serve.lock")
            if not self._lock.acquire():
                raise StoreBusyError(
                    f"data folder {settings.data_dir}: another `spanmeter serve` uses it",
                    hint="stop that one, or give this one a SPANMETER_DATA_DIR of its own",
                )
            self._companions = [Companion(told=self._problem) for _ in range(settings.receiving_processes - 1)]
            if self._companions:
                settings = _with_shared_ports(settings)
            for companion in self._companions:
                companion.spawn()  # they load while this process does
            clock = SystemClock()
            self._receiving = Receiving(
                settings, self._database, clock=clock, ready=self._problem, shares_ports=bool(self._companions)
            )
            self._worker = Worker(settings, self._database, clock=clock)
            self._worker.start()
            self._checkpoints = Checkpoints(self._database.journal, clock=clock)
            self._checkpoints.start()
            for companion in self._companions:
                companion.start(settings.model_copy(update={"konnect_token": None, "konnect_token_file": None}))
            for companion in self._companions:
                companion.wait_until_ready()
            self._receiving.start()  # last: connections are spread over those that listen when they are opened
        except BaseException:
            self.stop()
            raise
        self._announce(self._receiving)

    def stop(self) -> None:
        """Stop listening, write what was accepted, send what is pending for at most SPANMETER_SHUTDOWN_S seconds."""
        self._stopping = True
        grace_s = max(1.0, self._settings.shutdown_s)
        stops = [companion.stop for companion in self._companions]
        if self._receiving is not None:
            stops.append(self._receiving.stop)
        stopping = [threading.Thread(target=stop, args=(grace_s,)) for stop in stops]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        if self._worker is not None:
            self._worker.stop(close=False, timeout_s=grace_s)
        if self._checkpoints is not None:
            self._checkpoints.stop(grace_s)
        if self._lock is not None:
            self._lock.release()
        if self._database is not None:
            self._database.close()

    def _problem(self) -> str:
        """Why no request can be taken now; empty if it can."""
        if self._stopping:
            return "stopping"
        if self._worker is None or not self._worker.alive:
            return "assembly or delivery has ended: see the log"
        if self._receiving is not None and (problem := self._receiving.problem):
            return problem
        return self._worker.problem or next(filter(None, (one.problem for one in self._companions)), "")

    def _announce(self, receiving: Receiving) -> None:
        settings = self._settings
        for name, address, port in (
            ("gRPC", settings.otlp_grpc, receiving.grpc_port),
            ("HTTP", settings.otlp_http, receiving.http_port),
        ):
            if address is not None:
                log.info("OTLP/%s on %s:%d", name, address.host, port)
        if self._companions:
            log.info("%d processes receive", 1 + len(self._companions))
        log.info("data folder %s", settings.data_dir)
        if settings.delivers:
            log.info("events go to %s", configured_events_url(settings))
        else:
            log.warning(
                "no KONNECT_TOKEN and no SPANMETER_ENDPOINT: events stay in the local ledger and are sent to nobody; "
                "`spanmeter usage` shows them"
            )


def _with_shared_ports(settings: Settings) -> Settings:
    """The same, with ports that all processes can listen on. Raises `SpanmeterError` where another program does."""
    addresses = {"otlp_grpc": settings.otlp_grpc, "otlp_http": settings.otlp_http}
    try:
        shared = {name: port_to_share(address) for name, address in addresses.items() if address is not None}
    except OSError as error:
        raise cannot_listen(error) from error
    return settings.model_copy(update=shared)
