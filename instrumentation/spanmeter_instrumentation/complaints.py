"""What the plug-in says: on the logger `spanmeter.plugin`, and seen even where nobody has set logging up."""

import logging
import sys
import threading
import time

log = logging.getLogger("spanmeter.plugin")

_EVERY_S = 60.0
_told_s: dict[str, float] = {}
_lock = threading.Lock()


def announce(level: int, message: str, *fields: object) -> None:
    """Log a line that must be seen: on standard error too where no handler but OpenTelemetry's own would take it."""
    log.log(level, message, *fields)
    handlers = []
    logger: logging.Logger | None = log
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    # Without any handler, logging itself prints warnings (logging.lastResort).
    if handlers and all(type(handler).__module__.startswith("opentelemetry.") for handler in handlers):
        sys.stderr.write(f"spanmeter: {message % fields if fields else message}\n")


def complain(message: str, error: BaseException | None = None) -> None:
    """Log an error of our own, the same at most once a minute. Never raises."""
    try:
        with _lock:
            now_s = time.monotonic()
            if now_s - _told_s.get(message, -_EVERY_S) < _EVERY_S:
                return
            _told_s[message] = now_s
        log.error(message, exc_info=error)
    except Exception:  # noqa: S110 - least of all by complaining
        pass
