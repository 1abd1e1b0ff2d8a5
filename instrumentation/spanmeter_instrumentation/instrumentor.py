"""The entry point that `opentelemetry-instrument` loads (group `opentelemetry_instrumentor`, name `spanmeter`)."""

import atexit
import logging
import os
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.sdk.trace import TracerProvider

if TYPE_CHECKING:
    from spanmeter_instrumentation.processor import MeteringProcessor
    from spanmeter_instrumentation.stream_usage import StreamUsage

log = logging.getLogger("spanmeter.plugin")


class SpanmeterInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Adds a span processor to the tracer provider; makes a provider if there is none. One in a process.

    Never raises: an instrumentor that raises stops every instrumentor after it
    (opentelemetry-instrumentation, auto_instrumentation/_load.py).
    """

    sees_spans = False
    """Whether the spans of the process's tracer provider are metered."""
    _processor: "MeteringProcessor | None" = None
    _streams: "StreamUsage | None" = None
    _is_off = False
    _lock = threading.Lock()

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def metering(self) -> "MeteringProcessor | None":
        """What journals and delivers in this process, also where no spans are seen; None where metering is off, and
        then the log says why. Never raises."""
        if self._processor is None and not self._is_off:
            with self._lock:
                if self._processor is None and not self._is_off:
                    try:
                        self._processor = self._make()
                    except Exception as error:  # noqa: BLE001 - a guest does not break its host
                        hint = getattr(error, "hint", None)
                        log.error("metering is off in this process: %s%s", error, f" ({hint})" if hint else "")
                    self._is_off = self._processor is None
        return self._processor

    def _make(self) -> "MeteringProcessor | None":
        from spanmeter.settings import load  # noqa: PLC0415 - an import that fails must not break the host either
        from spanmeter_instrumentation.processor import MeteringProcessor  # noqa: PLC0415

        settings = load(os.environ)
        if not settings.enabled:
            log.info("SPANMETER_ENABLED=false: metering is off in this process")
            return None
        processor = MeteringProcessor(settings)
        atexit.register(self._finish, processor)
        return processor

    def _finish(self, processor: "MeteringProcessor") -> None:
        """At the process's end."""
        processor.shutdown()
        if self.sees_spans:
            processor.sight.tell(processor.settings)

    def _instrument(self, **_: Any) -> None:
        self._is_off = False
        processor = self.metering()
        if processor is None:
            return
        try:
            self._attach(processor)
        except Exception as error:  # noqa: BLE001 - a guest does not break its host
            what = "streams are not asked for usage" if self.sees_spans else "metering is off"
            log.error("%s in this process: %s", what, error)

    def _attach(self, processor: "MeteringProcessor") -> None:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = TracerProvider()
            trace.set_tracer_provider(provider)
        if not hasattr(provider, "add_span_processor"):
            log.error(
                "metering is off in this process: the tracer provider %s takes no span processors", type(provider)
            )
            return
        provider.add_span_processor(processor)
        self.sees_spans = True
        if processor.settings.stream_usage:
            from spanmeter_instrumentation.stream_usage import StreamUsage  # noqa: PLC0415

            self._streams = StreamUsage()
            self._streams.install()

    def _uninstrument(self, **_: Any) -> None:
        if self._streams is not None:
            self._streams.uninstall()
        if self._processor is not None:
            self._processor.shutdown()
        self._processor, self._streams, self.sees_spans = None, None, False
