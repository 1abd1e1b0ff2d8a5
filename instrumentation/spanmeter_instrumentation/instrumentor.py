"""The entry point that `opentelemetry-instrument` loads (group `opentelemetry_instrumentor`, name `spanmeter`)."""

import logging
import os
from collections.abc import Collection
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("spanmeter.plugin")


class SpanmeterInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Adds a span processor to the tracer provider; makes a provider if there is none.

    Never raises: an instrumentor that raises stops every instrumentor after it
    (opentelemetry-instrumentation, auto_instrumentation/_load.py).
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **_: Any) -> None:
        try:
            self._attach()
        except Exception as error:  # noqa: BLE001 - a guest does not break its host
            hint = getattr(error, "hint", None)
            log.error("metering is off in this process: %s%s", error, f" ({hint})" if hint else "")

    def _attach(self) -> None:
        from spanmeter.settings import load  # noqa: PLC0415 - an import that fails must not break the host either
        from spanmeter_instrumentation.processor import MeteringProcessor  # noqa: PLC0415
        from spanmeter_instrumentation.stream_usage import StreamUsage  # noqa: PLC0415

        settings = load(os.environ)
        if not settings.enabled:
            log.info("SPANMETER_ENABLED=false: metering is off in this process")
            return
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = TracerProvider()
            trace.set_tracer_provider(provider)
        if not hasattr(provider, "add_span_processor"):
            log.error(
                "metering is off in this process: the tracer provider %s takes no span processors", type(provider)
            )
            return
        self._processor = MeteringProcessor(settings)
        provider.add_span_processor(self._processor)
        if settings.stream_usage:
            self._streams = StreamUsage()
            self._streams.install()

    def _uninstrument(self, **_: Any) -> None:
        processor = getattr(self, "_processor", None)
        if processor is not None:
            processor.shutdown()
        streams = getattr(self, "_streams", None)
        if streams is not None:
            streams.uninstall()
