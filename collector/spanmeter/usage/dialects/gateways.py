"""Gateways and model servers that write spans of the calls that pass through them, in OpenTelemetry's vocabulary.

Source: Kong AI Gateway 3.13, developer.konghq.com app/_data/plugins/otel-span-attributes.yaml (a span `kong.gen_ai` for
a request, and one for a tool call in its reply that repeats id and usage: equal ids, so one call) and
app/ai-gateway/ai-otel-metrics.md (`kong.gen_ai.cache.status` is `hit` where the semantic cache answered); Envoy AI
Gateway internal/tracing/semconv and internal/tracing/otelgenai (AI_GATEWAY_TRACING_SEMCONV=gen_ai; its backends'
names); vLLM vllm/v1/engine/output_processor.py and vllm/tracing.py (`llm_request`; the engine's request id is the id of
the response that its OpenAI server sends). agentgateway needs no dialect of its own: its access spans have the
conventions' names (crates/agentgateway/src/telemetry/log.rs).
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, COUNTS, IDENTITY_KEYS, IGNORED, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import passed, text

_KONG = "kong"
_KONG_CACHE = ("kong.gen_ai.cache.status", "kong.gen_ai.cache_status")
_ENVOY = "envoyproxy/ai-gateway"
_ENVOY_BACKENDS = {"aws.anthropic": "aws.bedrock", "azure.openai": "azure.ai.openai", "gcp.anthropic": "gcp.vertex_ai"}
_VLLM = "vllm."
_VLLM_REQUEST = "llm_request"
_VLLM_REQUEST_ID = "gen_ai.request.id"


def recognise_gateway(span: Span) -> LlmCall | None:
    """Kong's and Envoy's spans. Both pass on the provider's counts as the conventions want them."""
    scope = span.scope.name
    is_kong = scope.startswith(_KONG) or any(key in span.attributes for key in _KONG_CACHE)
    if not (is_kong or scope == _ENVOY):
        return None
    operation = text(span.attributes, "gen_ai.operation.name")
    usage, problem = read_counts(span.attributes)
    has_counts = usage is not None or bool(problem)
    if not has_counts and operation not in CALLS:
        return None
    role, reason = Role.CALL, ""
    if text(span.attributes, *_KONG_CACHE).lower() == "hit":
        role, reason = Role.IGNORED, "answered from the gateway's cache"
    elif operation in IGNORED:
        role, reason = Role.IGNORED, f"operation {operation}"
    provider = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
    return make_call(
        span,
        dialect="gateway",
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        provider=_ENVOY_BACKENDS.get(provider) or semconv_provider(provider),
    )


def recognise_vllm(span: Span) -> LlmCall | None:
    if not span.scope.name.startswith(_VLLM) or span.name != _VLLM_REQUEST:
        return None
    usage, problem = read_counts(span.attributes)
    return make_call(
        span,
        dialect="vllm",
        role=Role.CALL,
        usage=usage,
        problem=problem,
        provider="vllm",
        response_id=passed(span.attributes, "gen_ai.response.id", _VLLM_REQUEST_ID),
    )


GATEWAY = Dialect(
    name="gateway",
    keys=IDENTITY_KEYS | COUNTS.keys() | set(_KONG_CACHE),
    markers=("gen_ai.",),
    recognise=recognise_gateway,
)
VLLM = Dialect(
    name="vllm",
    keys=IDENTITY_KEYS | COUNTS.keys() | {_VLLM_REQUEST_ID},
    markers=("gen_ai.",),
    recognise=recognise_vllm,
)
