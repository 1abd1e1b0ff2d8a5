"""Vercel AI SDK, versions 4 to 6, and 7 with `LegacyOpenTelemetry` of @ai-sdk/otel: `ai.operationId`, `ai.usage.*`.

Source: ai 4.3.19, 5.0.277, 6.0.326 dist/index.mjs, @ai-sdk/otel 1.0.173 (whose own spans, scope `gen_ai`, speak
OpenTelemetry's conventions). Calls are `….doGenerate`, `….doStream` and `….doEmbed`; `ai.generateText` and its like are
around them, with the sum of the steps or the last step's counts.

Versions 4 and 5 pass on what the provider package counts: @ai-sdk/anthropic 1.2.12 and 2.0.112 and
@ai-sdk/amazon-bedrock 2.2.12 and 3.0.137 leave cached tokens out of input and total, @ai-sdk/google 2.0.108 leaves
thoughts out of the output but not out of the total. Version 6 includes both and has `ai.usage.inputTokenDetails.*` on
texts, not on objects. Cache writes are in version 5 only in `ai.response.providerMetadata`, cache reads and thoughts
there too where a span has few counts. Version 4 has NaN for unknown.
The processor of @arizeai/openinference-vercel 2.8.1 adds its attributes and leaves these.
"""

import math
from dataclasses import dataclass

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.counting import disjoint
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import make_call
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.usage.values import BadCountError, count, json_object, passed, text

NAME = "vercel-ai"
_OPERATION = "ai.operationId"
_METADATA = "ai.response.providerMetadata"
_CALLS = {
    ".doGenerate": "chat",
    ".doStream": "chat",
    ".doEmbed": "embeddings",
}

_MODE = "ai.settings.mode"
_INPUT = ("ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_EMBEDDED = ("ai.usage.tokens",)
_OUTPUT = (
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
)
_TOTAL = ("ai.usage.totalTokens",)
_CACHE_READ = ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens")
_CACHE_WRITE = ("ai.usage.inputTokenDetails.cacheWriteTokens",)
_REASONING = ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens")
_NOT_CACHED = ("ai.usage.inputTokenDetails.noCacheTokens",)
_COUNT_KEYS = frozenset(
    (*_INPUT, *_EMBEDDED, *_OUTPUT, *_TOTAL, *_CACHE_READ, *_CACHE_WRITE, *_REASONING, *_NOT_CACHED)
)
_IDENTITY_KEYS = frozenset(
    {"ai.model.id", "ai.model.provider", "ai.response.id", "ai.response.model", "llm.model_name", "gen_ai.system"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    """What `ai.response.providerMetadata` adds. None: not told. `input` is the provider's own input count, without
    cached tokens; `candidates` Gemini's output without thoughts."""

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    candidates: int | None = None
    thoughts: int | None = None


def recognise(span: Span) -> LlmCall | None:
    operation = text(span.attributes, _OPERATION)
    if not operation:
        return None
    made = next((name for ending, name in _CALLS.items() if operation.endswith(ending)), "")
    usage, problem = _read_counts(span, operation)
    if not made and usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL if made else Role.AGGREGATE,
        usage=usage,
        problem=problem,
        reason="" if made else f"{operation} is around its calls",
        operation=made,
        provider=_provider(text(span.attributes, "ai.model.provider", "gen_ai.system")),
        request_model=text(span.attributes, "ai.model.id", "gen_ai.request.model"),
        response_model=text(span.attributes, "ai.response.model", "gen_ai.response.model", "llm.model_name"),
        response_id=passed(span.attributes, "gen_ai.response.id", "ai.response.id"),
        streamed=operation.startswith("ai.stream"),
    )


def _provider(name: str) -> str:
    """`openai.chat`, `anthropic.messages`, `google.generative-ai`, `google.vertex.chat`, `vertex.anthropic.messages`:
    the package that serves the model comes first."""
    if name.startswith("google.vertex"):
        return semconv_provider("google.vertex")
    return semconv_provider(name.partition(".")[0])


def _read_counts(span: Span, operation: str) -> tuple[Usage | None, str]:
    counts = {key: span.attributes[key] for key in _COUNT_KEYS & span.attributes.keys()}
    counts = {key: value for key, value in counts.items() if not _is_nan(value)}
    try:
        told = _read_metadata(span)
        input_tokens = count(counts, *_INPUT, *_EMBEDDED) or 0
        output_tokens = count(counts, *_OUTPUT) or 0
        reasoning = count(counts, *_REASONING) or 0
        cache_read = _most(count(counts, *_CACHE_READ), told.cache_read)
        cache_write = _most(count(counts, *_CACHE_WRITE), told.cache_write)
        if not (input_tokens or output_tokens or cache_read or cache_write):
            return None, ""
        total = count(counts, *_TOTAL)
    except BadCountError as error:
        return None, str(error)
    apart = reasoning > 0 and total == input_tokens + output_tokens + reasoning
    if told.thoughts and not reasoning:
        reasoning = told.thoughts
        apart = told.candidates == output_tokens
    usage = disjoint(
        input_tokens,
        output_tokens,
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=reasoning,
        cache_included=not _excludes_cache(span, operation, told, input_tokens, cache_read + cache_write),
        reasoning_included=not apart,
    )
    return usage, ""


def _excludes_cache(span: Span, operation: str, told: _Metadata, input_tokens: int, cached: int) -> bool:
    """The total is no proof: versions 4 and 5 add up what they have."""
    if not span.attributes.keys().isdisjoint((*_NOT_CACHED, *_CACHE_WRITE)):
        return False
    if told.input is not None:
        return input_tokens < told.input + cached
    provider = text(span.attributes, "ai.model.provider", "gen_ai.system")
    # Objects look the same in versions 5 and 6, so what cannot be known is not billed on top. Only 4's have a mode.
    is_known = "Object" not in operation or _MODE in span.attributes
    return ("anthropic" in provider or "bedrock" in provider) and is_known


def _read_metadata(span: Span) -> _Metadata:
    metadata = json_object(span.attributes.get(_METADATA))
    anthropic = json_object(metadata.get("anthropic"))
    if anthropic:
        usage = json_object(anthropic.get("usage"))
        return _Metadata(
            input=count(usage, "input_tokens"),
            cache_read=_first(count(usage, "cache_read_input_tokens"), count(anthropic, "cacheReadInputTokens")),
            cache_write=_first(
                count(usage, "cache_creation_input_tokens"), count(anthropic, "cacheCreationInputTokens")
            ),
        )
    bedrock = json_object(json_object(metadata.get("bedrock")).get("usage"))
    google = json_object(json_object(metadata.get("google") or metadata.get("vertex")).get("usageMetadata"))
    return _Metadata(
        cache_read=_first(count(bedrock, "cacheReadInputTokens"), count(google, "cachedContentTokenCount")),
        cache_write=count(bedrock, "cacheWriteInputTokens"),
        candidates=count(google, "candidatesTokenCount"),
        thoughts=count(google, "thoughtsTokenCount"),
    )


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _most(one: int | None, other: int | None) -> int:
    return max(one or 0, other or 0)


def _is_nan(value: AttributeValue) -> bool:
    return value == "NaN" or (isinstance(value, float) and math.isnan(value))


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_OPERATION}) | {key for key in _COUNT_KEYS if key.startswith("ai.usage.")},
    markers=("ai.operationId", "ai.usage."),
    context=_IDENTITY_KEYS
    | {_METADATA, _MODE}
    | {key for key in _COUNT_KEYS if not key.startswith("ai.usage.")}
    | {"gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id"},
    recognise=recognise,
)
