"""What each process of `spanmeter serve` does: it takes OTLP requests and journals them."""

import threading
from collections.abc import Callable

from spanmeter.clock import Clock
from spanmeter.errors import SpanmeterError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import Intake
from spanmeter.receiver.grpc import GrpcReceiver
from spanmeter.receiver.http import HttpReceiver
from spanmeter.receiver.reception import Reception
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.space import Space


class Receiving:
    """Intake and OTLP servers as the settings have them. `start`, then `stop`, also where `start` raised."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        clock: Clock,
        ready: Callable[[], str],
        shares_ports: bool = False,
    ) -> None:
        """`ready` is what /readyz says: why no request can be taken, empty if it can."""
        recogniser = configured_recogniser(settings)
        self._space = Space(
            settings.data_dir,
            min_free_bytes=settings.min_free_mb * 2**20,
            max_bytes=settings.max_data_mb * 2**20,
            clock=clock,
        )
        self._intake = Intake(SqliteJournal(database), recogniser, clock, space=self._space)
        reception = Reception(
            intake=self._intake, vocabulary=recogniser.vocabulary(), max_body_bytes=settings.max_body_bytes
        )
        self._grpc = self._http = None
        if settings.otlp_grpc is not None:
            self._grpc = GrpcReceiver(settings.otlp_grpc, reception, shares_port=shares_ports)
        if settings.otlp_http is not None:
            self._http = HttpReceiver(settings.otlp_http, reception, ready=ready, shares_port=shares_ports)
        self.grpc_port = 0
        self.http_port = 0

    def start(self) -> None:
        """Listen and serve. Raises `SpanmeterError` where an address cannot be had."""
        self._intake.start()
        try:
            if self._grpc is not None:
                self.grpc_port = self._grpc.start()
            if self._http is not None:
                self.http_port = self._http.start()
        except OSError as error:
            raise cannot_listen(error) from error

    @property
    def problem(self) -> str:
        """Why nothing can be journalled now; empty if it can."""
        try:
            return self._space.problem() or self._intake.problem
        except SpanmeterError as error:
            return error.message

    def stop(self, grace_s: float) -> None:
        """Refuse what is new, answer what is in flight, write what was accepted; about `grace_s` seconds for each."""
        stopping = [
            threading.Thread(target=receiver.stop, args=(grace_s,))
            for receiver in (self._grpc, self._http)
            if receiver is not None
        ]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._intake.stop(grace_s)


def cannot_listen(error: OSError) -> SpanmeterError:
    return SpanmeterError(
        str(error), hint="another program listens there; set SPANMETER_OTLP_GRPC or SPANMETER_OTLP_HTTP, or off"
    )
