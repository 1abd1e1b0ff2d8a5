"""Spans that a provider's SDK makes by itself: Anthropic's and Mistral's; and OpenTelemetry's around Anthropic's.

Source: anthropic 2.12.0 _tracing.py (SPAN_ATTRIBUTES) and lib/_tracing/_response.py (`gen_ai.usage.input_tokens` is the
sum of the uncached and the cached); mistralai 1.12.4 extra/observability/otel.py (`prompt_tokens` beside
`output_tokens`; the REST operation's name as the span's; conversations as `invoke_agent`; _hooks/tracing.py: a client
keeps one span, so that of requests at the same time one writes onto another's), 3.7.0 (conventions' names);
opentelemetry-instrumentation-genai-anthropic 1.3b0 messages_extractors.py.

Anthropic's streams begin with the input and a provisional output and end with the final counts and a stop reason
(Messages API, message_start and message_delta). A streamed span without a stop reason is of a stream that was left
early: what it reports as output is provisional, or missing.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, COUNTS, IDENTITY_KEYS, CountNames, make_call, read_counts
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

_ANTHROPIC = "com.anthropic.sdk."
_GENAI_ANTHROPIC = "opentelemetry.instrumentation.genai.anthropic"
_COUNT_TOKENS = "anthropic.messages.count_tokens"
_STOP_REASONS = ("anthropic.message.stop_reason", "gen_ai.response.finish_reasons")

_MISTRAL = "mistralai_sdk_tracer"
_MISTRAL_OPERATION = "mistral_ai.operation.id"
_MISTRAL_COUNTS = CountNames(
    input=COUNTS.input,
    output=COUNTS.output,
    cache_read=COUNTS.cache_read,
    total=("mistral_ai.request.total_tokens",),
)


def recognise_anthropic(span: Span) -> LlmCall | None:
    if not span.scope.name.startswith((_ANTHROPIC, _GENAI_ANTHROPIC)):
        return None
    if span.name == _COUNT_TOKENS:
        return make_call(
            span, dialect="anthropic", role=Role.IGNORED, usage=None, reason="counts tokens", provider="anthropic"
        )
    usage, problem = read_counts(span.attributes)
    if usage is None and not problem and text(span.attributes, "gen_ai.operation.name") not in CALLS:
        return None
    streamed = span.attributes.get("gen_ai.request.stream") is True
    finished = any(span.attributes.get(key) for key in _STOP_REASONS)
    return make_call(
        span,
        dialect="anthropic",
        role=Role.CALL,
        usage=usage,
        problem=problem,
        estimated=usage is not None and streamed and not finished,
    )


def recognise_mistral(span: Span) -> LlmCall | None:
    """A conversation's `invoke_agent` is one request to Mistral, whose models run behind it: a call."""
    if span.scope.name != _MISTRAL:
        return None
    usage, problem = read_counts(span.attributes, _MISTRAL_COUNTS)
    operation = text(span.attributes, "gen_ai.operation.name")
    if usage is None and not problem and operation not in CALLS:
        return None
    if not operation:
        named = text(span.attributes, _MISTRAL_OPERATION) or span.name
        operation = "embeddings" if "embedding" in named else "chat"
    return make_call(
        span,
        dialect="mistral",
        role=Role.CALL,
        usage=usage,
        problem=problem,
        operation=operation,
        provider="mistral_ai",
        mixes_up=True,
    )


ANTHROPIC = Dialect(
    name="anthropic",
    keys=IDENTITY_KEYS | COUNTS.keys() | set(_STOP_REASONS),
    markers=("gen_ai.", "anthropic.message."),
    recognise=recognise_anthropic,
)
MISTRAL = Dialect(
    name="mistral",
    keys=IDENTITY_KEYS | _MISTRAL_COUNTS.keys() | {_MISTRAL_OPERATION},
    markers=("gen_ai.", "mistral_ai."),
    recognise=recognise_mistral,
)
