"""For spans that are metered elsewhere: what is bound in code as attributes, for all exporters to see."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from spanmeter.binding import bound


class TenantSpanProcessor(SpanProcessor):
    """Writes `tenant.id`, and `tenant.<name>` for each dimension, on every span that starts where they are bound.

    Not part of the plug-in, which reads what is bound without a trace of it on the span. For an application whose spans
    go to a collector: `provider.add_span_processor(TenantSpanProcessor())`. There, a dimension is taken up by
    `SPANMETER_DIMENSIONS=tier=tenant.tier`. A tenant that the span names itself stays.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        held = bound()
        if held is None:
            return
        own = span.attributes or {}
        named = {f"tenant.{name}": value for name, value in held.dimensions.items()}
        if held.tenant:
            named["tenant.id"] = held.tenant
        span.set_attributes({key: value for key, value in named.items() if key not in own})
