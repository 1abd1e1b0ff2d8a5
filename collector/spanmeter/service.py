"""`spanmeter serve`: everything started in order and stopped in reverse."""

import logging
import threading

from spanmeter.clock import SystemClock
from spanmeter.errors import SettingsError, SpanmeterError, StoreBusyError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import Intake
from spanmeter.receiver.grpc import GrpcReceiver
from spanmeter.receiver.http import HttpReceiver
from spanmeter.receiver.reception import Reception
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.lock import FileLock
from spanmeter.store.space import Space
from spanmeter.worker import Worker, configured_events_url

log = logging.getLogger("spanmeter.service")


class Service:
    """The collector as one process. `start`, then `stop`; neither may be called twice."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._worker: Worker | None = None
        self._intake: Intake | None = None
        self._database: Database | None = None
        self._space: Space | None = None
        self._lock: FileLock | None = None
        self._receivers: list[GrpcReceiver | HttpReceiver] = []
        self.grpc_port = 0
        self.http_port = 0

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
            clock = SystemClock()
            recogniser = configured_recogniser(settings)
            self._space = Space(
                settings.data_dir,
                min_free_bytes=settings.min_free_mb * 2**20,
                max_bytes=settings.max_data_mb * 2**20,
                clock=clock,
            )
            self._intake = Intake(SqliteJournal(self._database), recogniser, clock, space=self._space)
            self._intake.start()
            self._worker = Worker(settings, self._database, clock=clock)
            self._worker.start()
            reception = Reception(
                intake=self._intake, vocabulary=recogniser.vocabulary(), max_body_bytes=settings.max_body_bytes
            )
            if settings.otlp_grpc is not None:
                grpc = GrpcReceiver(settings.otlp_grpc, reception)
                self._receivers.append(grpc)
                self.grpc_port = grpc.start()
            if settings.otlp_http is not None:
                http = HttpReceiver(settings.otlp_http, reception, ready=self._problem)
                self._receivers.append(http)
                self.http_port = http.start()
        except OSError as error:
            self.stop()
            raise SpanmeterError(
                str(error), hint="another program listens there; set SPANMETER_OTLP_GRPC or SPANMETER_OTLP_HTTP, or off"
            ) from error
        except BaseException:
            self.stop()
            raise
        self._announce()

    def stop(self) -> None:
        """Stop listening, write what was accepted, send what is pending for at most SPANMETER_SHUTDOWN_S seconds."""
        self._stopping = True
        grace_s = max(1.0, self._settings.shutdown_s)
        stopping = [threading.Thread(target=receiver.stop, args=(grace_s,)) for receiver in self._receivers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        if self._intake is not None:
            self._intake.stop(grace_s)
        if self._worker is not None:
            self._worker.stop(close=False, timeout_s=grace_s)
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
        try:
            return (
                (self._space.problem() if self._space is not None else "")
                or (self._intake.problem if self._intake is not None else "")
                or self._worker.problem
            )
        except SpanmeterError as error:
            return error.message

    def _announce(self) -> None:
        settings = self._settings
        for name, address, port in (
            ("gRPC", settings.otlp_grpc, self.grpc_port),
            ("HTTP", settings.otlp_http, self.http_port),
        ):
            if address is not None:
                log.info("OTLP/%s on %s:%d", name, address.host, port)
        log.info("data folder %s", settings.data_dir)
        if settings.delivers:
            log.info("events go to %s", configured_events_url(settings))
        else:
            log.warning(
                "no KONNECT_TOKEN and no SPANMETER_ENDPOINT: events stay in the local ledger and are sent to nobody; "
                "`spanmeter usage` shows them"
            )
