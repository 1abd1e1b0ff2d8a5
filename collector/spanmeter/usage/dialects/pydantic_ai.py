"""Pydantic AI's own spans.

Source: pydantic-ai-slim 0.4.0 to 2.68.0: models/instrumented.py, _instrumentation.py and embeddings/instrumented.py
(`chat …` and `embeddings …`, one a request); agent/__init__.py, capabilities/instrumentation.py and
realtime/_instrumentation.py (a run's span, with the run's sum under `gen_ai.aggregated_usage.*`, or up to version 1
by default under `gen_ai.usage.*`; a run that was given its caller's usage object reports the caller's calls too);
usage.py (cached tokens also, and in old versions only, under `gen_ai.usage.details.*`, where the provider's own names
stand); models/google.py (up to 0.6 the output excludes Gemini's thoughts).
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import Span
from spanmeter.usage.values import text, version

NAME = "pydantic-ai"
SCOPE = "pydantic-ai"

_CALL_COUNTS = CountNames(
    input=("gen_ai.usage.input_tokens",),
    output=("gen_ai.usage.output_tokens",),
    cache_read=(
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens",
        "gen_ai.usage.details.cached_content_tokens",
    ),
    cache_write=(
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
    ),
    reasoning=(
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thoughts_tokens",
    ),
)


def _aggregated(keys: tuple[str, ...]) -> tuple[str, ...]:
    return (*(key.replace("gen_ai.usage.", "gen_ai.aggregated_usage.", 1) for key in keys), *keys)


_RUN_COUNTS = CountNames(
    input=_aggregated(_CALL_COUNTS.input),
    output=_aggregated(_CALL_COUNTS.output),
    cache_read=_aggregated(_CALL_COUNTS.cache_read),
    cache_write=_aggregated(_CALL_COUNTS.cache_write),
    reasoning=_aggregated(_CALL_COUNTS.reasoning),
)
# providers/google_gla.py and google_vertex.py, up to version 1.
_PROVIDERS = {"google-gla": "gcp.gemini", "google-vertex": "gcp.vertex_ai"}
_RUN_MODEL = "model_name"
_THOUGHTS = "gen_ai.usage.details.thoughts_tokens"
_THOUGHTS_INCLUDED_SINCE = (0, 7)


def recognise(span: Span) -> LlmCall | None:
    if span.scope.name != SCOPE:
        return None
    if text(span.attributes, "gen_ai.operation.name") in CALLS:
        known = version(span.scope.version)
        excluded = _THOUGHTS in span.attributes and known and known < _THOUGHTS_INCLUDED_SINCE
        usage, problem = read_counts(span.attributes, _CALL_COUNTS, reasoning_included=not excluded)
        named = text(span.attributes, "gen_ai.provider.name", "gen_ai.system")
        return make_call(
            span,
            dialect=NAME,
            role=Role.CALL,
            usage=usage,
            problem=problem,
            provider=_PROVIDERS.get(named, semconv_provider(named)),
        )
    usage, problem = read_counts(span.attributes, _RUN_COUNTS)
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.AGGREGATE,
        usage=usage,
        problem=problem,
        reason="a run's sum over its requests",
        request_model=text(span.attributes, _RUN_MODEL),
    )


DIALECT = Dialect(
    name=NAME,
    keys=otel_genai.IDENTITY_KEYS | _CALL_COUNTS.keys() | _RUN_COUNTS.keys(),
    markers=("gen_ai.",),
    recognise=recognise,
    context=frozenset({_RUN_MODEL}),
)
