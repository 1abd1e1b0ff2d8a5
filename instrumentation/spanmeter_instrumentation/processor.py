"""The way of last resort into a tracer provider, for an SDK whose classes are not as `hooks` expects them."""

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from spanmeter.usage.span import NOTHING_CAPTURED
from spanmeter_instrumentation.complaints import complain
from spanmeter_instrumentation.recorder import Recorder


class MeteringProcessor(SpanProcessor):
    """Hands the spans that its provider records to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_end(self, span: ReadableSpan) -> None:
        try:
            self._recorder.take_span(span, NOTHING_CAPTURED)
        except Exception as error:  # a guest does not break its host
            complain("a span was not metered", error)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._recorder.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        self._recorder.finish()
