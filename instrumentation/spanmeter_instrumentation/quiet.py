"""The plug-in's own work leaves no trace in its host: no spans or metrics of its HTTP and SQL, no log lines of them."""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context

# httpx tells of every request at INFO, httpcore of every step at DEBUG.
_CLIENT_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")
_OURS = context.create_key("spanmeter")
# What opentelemetry.instrumentation.utils.suppress_instrumentation sets; importing that takes 40 ms.
_SUPPRESSING = (_OURS, context._SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, instrumentations do not record, and no span of the application's is the current one."""
    token = context.attach(context.Context(dict.fromkeys(_SUPPRESSING, True)))
    try:
        yield
    finally:
        context.detach(token)


def quiet_thread(*, target: Callable[..., object], **named: Any) -> threading.Thread:
    """A `threading.Thread` whose target runs quietly."""

    @functools.wraps(target)
    def run(*arguments: Any) -> None:
        with quietly():
            target(*arguments)

    return threading.Thread(target=run, **named)


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or not context.get_value(_OURS)


_filter = _NotOurs()


def hush_clients() -> None:
    """Keep the lines that HTTP libraries write about our requests out of the host's log. Idempotent."""
    for name in _CLIENT_LOGGERS:
        logging.getLogger(name).addFilter(_filter)
