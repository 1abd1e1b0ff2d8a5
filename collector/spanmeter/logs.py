"""Log lines on standard error: `time level message`, the hint behind it. Never a line a span, never message text."""

import logging
import sys

from spanmeter.clock import Clock

_EVERY_S = 60.0


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        hint = getattr(record, "hint", None)
        return f"{line} ({hint})" if hint else line


def log_to_stderr(level: str) -> None:
    """Set up spanmeter's own logger; other libraries speak from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("spanmeter").setLevel(level)


class Complaints:
    """Logs each message at most once a minute; the next line says how many were kept back. Not for several threads."""

    def __init__(self, logger: logging.Logger, *, clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._told_s: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def tell(self, level: int, message: str, *fields: object, error: BaseException | None = None) -> None:
        """`message` is a constant with a place for each field; it is also what counts as the same complaint."""
        now_s = self._clock.monotonic()
        if message in self._told_s and now_s - self._told_s[message] < _EVERY_S:
            self._kept_back[message] = self._kept_back.get(message, 0) + 1
            return
        self._told_s[message] = now_s
        if repeats := self._kept_back.pop(message, 0):
            self._logger.log(level, message + " (and %d more since)", *fields, repeats, exc_info=error)
        else:
            self._logger.log(level, message, *fields, exc_info=error)
