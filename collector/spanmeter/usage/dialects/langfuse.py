"""Langfuse's SDKs: the counts as a JSON object in `langfuse.observation.usage_details`.

Source: langfuse 5.0.4 _client/attributes.py; openai.py _parse_usage (OpenAI's usage object as it is; embeddings as
`{"input": n}`); langchain/CallbackHandler.py _parse_usage_model (`input` and `output` without what has a name of its
own, `input_cache_read`, `output_reasoning`; the total of the provider; `total_cost: 0` is left from an answer out of
LangChain's cache, see reply_text); @langfuse/openai 5 dist/index.mjs (the same names). By hand any names are allowed;
Langfuse's documentation (token and cost tracking) asks for names that exclude each other.
"""

from collections.abc import Mapping
from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import make_call
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import AttributeValue, Span
from spanmeter.usage.values import BadCountError, as_count, json_object, text

NAME = "langfuse"
_DETAILS = "langfuse.observation.usage_details"
_TYPE = "langfuse.observation.type"
_MODEL = "langfuse.observation.model.name"
_STREAMED = "langfuse.observation.completion_start_time"
_LANGCHAIN_PROVIDER = "langfuse.observation.metadata.ls_provider"
_SCOPE = "langfuse"

_CALLS = {"generation": "chat", "embedding": "embeddings"}
_OLD_NAMES = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens", "totalTokens": "total_tokens"}
_REPLY_NAMES = frozenset({"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"})


def recognise(span: Span) -> LlmCall | None:
    kind = text(span.attributes, _TYPE)
    details = json_object(span.attributes.get(_DETAILS))
    if not details and not (kind in _CALLS and span.scope.name.startswith(_SCOPE)):
        return None
    usage, problem = _read_details(details)
    role, reason = (Role.CALL, "") if kind in _CALLS else (Role.AGGREGATE, f"observation of type {kind}")
    if role is Role.AGGREGATE and usage is None and not problem:
        return None
    if details.get("total_cost") == 0:
        role, reason = Role.IGNORED, "answered from a cache"
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation=_CALLS.get(kind, ""),
        provider=semconv_provider(text(span.attributes, _LANGCHAIN_PROVIDER).strip('"')),
        response_model=text(span.attributes, _MODEL),
        streamed=_STREAMED in span.attributes,
    )


def _read_details(details: Mapping[str, AttributeValue]) -> tuple[Usage | None, str]:
    details = {_OLD_NAMES.get(name, name): value for name, value in details.items()}
    if not details.keys().isdisjoint(_REPLY_NAMES):
        return read_reply_usage(details)
    try:
        return _add_up(details), ""
    except BadCountError as error:
        return None, str(error)


def _add_up(details: Mapping[str, AttributeValue]) -> Usage | None:
    """Names that exclude each other. The total, where there is one, says what `input` really is."""
    tokens = {"input": 0, "cache_read": 0, "cache_write": 0, "output": 0, "reasoning": 0}
    for name, value in details.items():
        token_class = _class_of(name)
        if token_class and value is not None and not _is_part(name, details):
            tokens[token_class] += as_count(name, value)
    usage = Usage(**tokens)
    if not usage.total:
        return None
    total = details.get("total")
    if total is not None:
        uncached = as_count("total", total) - usage.all_output - usage.cache_read - usage.cache_write
        if uncached >= 0:
            usage = replace(usage, input=uncached)
    return usage


def _class_of(name: str) -> str:
    """The token class that a name means, empty for what is none."""
    if "priority" in name:  # LangChain: a tier, in which the other classes are counted once more
        return ""
    if "cache_creation" in name or "cache_write" in name or name.startswith("input_ephemeral"):
        return "cache_write"
    if "cached" in name or "cache_read" in name:
        return "cache_read"
    if "reasoning" in name or "thought" in name:
        return "reasoning"
    if name in ("input", "output"):
        return name
    return "input" if name.startswith("input_") else "output" if name.startswith("output_") else ""


def _is_part(name: str, details: Mapping[str, AttributeValue]) -> bool:
    """Anthropic's cache writes by lifetime are parts of their sum, where that is told too."""
    return name.startswith("cache_creation_ephemeral") and "cache_creation_input_tokens" in details


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_DETAILS, _TYPE}),
    markers=("langfuse.observation.usage_details", "langfuse.observation.type"),
    context=frozenset({_MODEL, _STREAMED, _LANGCHAIN_PROVIDER}),
    recognise=recognise,
)
