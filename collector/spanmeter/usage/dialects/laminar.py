"""Laminar (lmnr): OpenLLMetry's names without its kinds, under a type of span of its own.

Source: lmnr 0.8.2 opentelemetry_lib/opentelemetry/instrumentation/shared/utils.py, safe_start_span (most of its
instrumentations write no operation; `lmnr.span.type` is LLM on every call, embeddings among them); sdk/laminar.py,
start_span (an application may say so of spans of its own); sdk/debug/replay.py, mark_span_cached (an answer that a
debug session replays: no model is asked); openai/shared/chat_wrappers.py (`llm.is_streaming`).

The counts are the conventions'. What bears the type and belongs to another vocabulary, such as Google ADK's and
Langfuse's spans, which Laminar only adds to, is theirs.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, COUNTS, IDENTITY_KEYS, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import text, truth

NAME = "laminar"
_TYPE = "lmnr.span.type"
_STREAMING = "llm.is_streaming"


def recognise(span: Span) -> LlmCall | None:
    """Of spans of type LLM those that are calls by what the conventions say of them, or by nothing but the type."""
    attributes = span.attributes
    kind = text(attributes, _TYPE)
    operation = text(attributes, "gen_ai.operation.name")
    if kind not in ("LLM", "CACHED") or (operation and operation not in CALLS):
        return None
    usage, problem = read_counts(attributes)
    replayed = kind == "CACHED"
    return make_call(
        span,
        dialect=NAME,
        role=Role.IGNORED if replayed else Role.CALL,
        usage=usage,
        problem=problem,
        reason="replayed from a cache" if replayed else "",
        provider=semconv_provider(text(attributes, "gen_ai.provider.name", "gen_ai.system")),
        streamed=truth(attributes, _STREAMING),
    )


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS | COUNTS.keys() | {_TYPE},
    markers=("gen_ai.", "llm.usage.", _TYPE),
    context=frozenset({_STREAMING}),
    recognise=recognise,
)
