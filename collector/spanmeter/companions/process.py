"""What runs in a companion."""

import os
import signal

from spanmeter.clock import SystemClock
from spanmeter.companions.messages import Failure, GoneError, Line, Stop
from spanmeter.errors import SpanmeterError
from spanmeter.heap import collect_rarely
from spanmeter.logs import log_to_stderr
from spanmeter.receiving import Receiving
from spanmeter.settings import Settings
from spanmeter.store.database import Database

LOOK_EVERY_S = 0.5


def accompany(line: Line) -> None:
    """Receive until the service says stop, or SIGTERM does. Where the service ends without a word, so does this
    process: what is in flight is not acknowledged, and its ports are free for the next start at once."""
    try:
        settings = line.hear()
        assert isinstance(settings, Settings)
        log_to_stderr(settings.log_level)
        try:
            _Companion(settings, line).run()
        except SpanmeterError as error:
            line.say(Failure(message=error.message, hint=error.hint))
    except GoneError:
        os._exit(1)


class _Companion:
    def __init__(self, settings: Settings, line: Line) -> None:
        self._settings = settings
        self._line = line
        self._others_problem = ""
        self._stop_after_s: float | None = None
        signal.signal(signal.SIGTERM, self._terminate)

    def run(self) -> None:
        database = Database.open(self._settings.data_dir)
        receiving = Receiving(
            self._settings,
            database,
            clock=SystemClock(),
            ready=lambda: receiving.problem or self._others_problem,
            shares_ports=True,
        )
        try:
            receiving.start()
            collect_rarely()
            said: str | None = None
            while self._stop_after_s is None:
                if (problem := receiving.problem) != said:
                    self._line.say(problem)
                    said = problem
                if self._line.has_news(LOOK_EVERY_S):
                    self._heed(self._line.hear())
        except SpanmeterError:
            self._terminate()
            raise
        finally:
            if self._stop_after_s is not None:
                self._others_problem = "stopping"
                receiving.stop(self._stop_after_s)
                database.close()

    def _heed(self, message: object) -> None:
        match message:
            case Stop(grace_s=grace_s):
                self._stop_after_s = grace_s
            case str():
                self._others_problem = message

    def _terminate(self, *_: object) -> None:
        self._stop_after_s = max(1.0, self._settings.shutdown_s)
