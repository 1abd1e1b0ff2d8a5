"""The plug-in: meters the LLM calls of the process that it is a guest in.

`opentelemetry-instrument` starts it by itself (entry point group `opentelemetry_pre_instrument`). Without it, two lines
at the program's beginning do the same:

    import spanmeter_instrumentation
    spanmeter_instrumentation.start()

Nothing here raises: an entry point that does would stop every instrumentation after it (opentelemetry-instrumentation,
auto_instrumentation/_load.py).
"""

import logging

log = logging.getLogger("spanmeter.plugin")

__all__ = ["flush", "start", "stop"]


def start() -> bool:
    """Meter this process from now on, as the environment's settings say; true if it is metered. May be called again."""
    try:
        from spanmeter_instrumentation.plugin import plugin  # noqa: PLC0415 - an import may fail, too

        return plugin.start()
    except Exception:
        log.exception("metering is off in this process")
        return False


def flush() -> bool:
    """Everything that has ended is on disk when this returns true."""
    try:
        from spanmeter_instrumentation.plugin import plugin  # noqa: PLC0415

        return plugin.flush()
    except Exception:
        log.exception("flush")
        return False


def stop() -> None:
    """Meter no more: what has ended is written, what is whole is decided and sent, for SPANMETER_SHUTDOWN_S at most.

    A process that ends need not call this; one that is frozen or ends by `os._exit` may.
    """
    try:
        from spanmeter_instrumentation.plugin import plugin  # noqa: PLC0415

        plugin.stop()
    except Exception:
        log.exception("stop")
