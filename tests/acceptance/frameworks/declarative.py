"""One call, under a provider that OTEL_CONFIG_FILE describes."""

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

assert trace.get_tracer_provider().sampler.get_description() == ALWAYS_OFF.get_description()
call = {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 7, "tenant.id": "acme"}
trace.get_tracer("agent").start_span("chat", attributes=call).end()
