"""LangSmith's OpenTelemetry export: `langsmith.span.kind` beside the conventions' attributes.

Source: langsmith 0.15.1 _internal/otel/_otel_exporter.py: counts are set on any run whose outputs have them, so on
chains that hand on a model's message too; retrievers get the operation `embeddings` and prompts `chat`; the details
are Python's `str` of a dict, and those of LangChain's models only in the run's metadata (`usage_metadata`, JSON).
LangSmith's UsageMetadata, as LangChain's, includes cached tokens and reasoning. The outputs are in `gen_ai.completion`,
with the id and the mark of LangChain's cache (see reply_text).
"""

import ast
from collections.abc import Mapping

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import otel_genai
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import read_reply
from spanmeter.usage.dialects.reply_usage import with_cache_writes
from spanmeter.usage.span import Attributes, AttributeValue, Span
from spanmeter.usage.values import json_object, text, truth

NAME = "langsmith"
_KIND = "langsmith.span.kind"
_STREAMED = "langsmith.request.streaming"
_PROVIDER = "langsmith.metadata.ls_provider"
_MODEL = "langsmith.metadata.ls_model_name"
_OUTPUTS = "gen_ai.completion"
_USAGE = "langsmith.metadata.usage_metadata"
_INPUT_DETAILS = "gen_ai.usage.input_token_details"
_OUTPUT_DETAILS = "gen_ai.usage.output_token_details"
_CALLS = {"llm": "chat", "embedding": "embeddings"}
_MOST_DETAIL_CHARACTERS = 2000

_COUNTS = CountNames(
    input=otel_genai.COUNTS.input,
    output=otel_genai.COUNTS.output,
    cache_read=(*otel_genai.COUNTS.cache_read, "cache_read"),
    cache_write=(*otel_genai.COUNTS.cache_write, "cache_creation"),
    reasoning=(*otel_genai.COUNTS.reasoning, "reasoning"),
    total=otel_genai.COUNTS.total,
)


def recognise(span: Span) -> LlmCall | None:
    kind = text(span.attributes, _KIND)
    if not kind:
        return None
    usage, problem = _read_counts(span.attributes)
    counted = usage is not None or bool(problem)
    reply = read_reply(span.attributes.get(_OUTPUTS)) if kind == "llm" else read_reply(None)
    if reply.from_cache:
        role, reason = Role.IGNORED, "answered from a cache"
    elif kind in _CALLS:
        role, reason = Role.CALL, ""
    elif counted:
        role, reason = Role.AGGREGATE, f"run of type {kind}"
    elif text(span.attributes, "gen_ai.operation.name") in otel_genai.CALLS:
        role, reason = Role.IGNORED, f"run of type {kind}"
    else:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation=_CALLS.get(kind, ""),
        provider=semconv_provider(text(span.attributes, _PROVIDER) or text(span.attributes, *_PROVIDER_KEYS)),
        request_model=text(span.attributes, "gen_ai.request.model", _MODEL),
        response_id=reply.response_id,
        streamed=reply.streamed or truth(span.attributes, _STREAMED),
    )


_PROVIDER_KEYS = ("gen_ai.provider.name", "gen_ai.system")


def _read_counts(attributes: Attributes) -> tuple[Usage | None, str]:
    reported = json_object(attributes.get(_USAGE))
    details = {
        **json_object(reported.get("input_token_details")),
        **json_object(reported.get("output_token_details")),
        **_members(attributes.get(_INPUT_DETAILS)),
        **_members(attributes.get(_OUTPUT_DETAILS)),
    }
    return read_counts({**with_cache_writes(details), **attributes}, _COUNTS)


def _members(value: AttributeValue) -> Mapping[str, AttributeValue]:
    """The members of a dict in JSON or as Python's `repr`."""
    members = json_object(value)
    if members or not isinstance(value, str) or not value.startswith("{") or len(value) > _MOST_DETAIL_CHARACTERS:
        return members
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return (
        {name: value for name, value in literal.items() if isinstance(name, str)} if isinstance(literal, dict) else {}
    )


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_KIND}),
    markers=(_KIND,),
    context=otel_genai.KEYS
    | frozenset({_STREAMED, _PROVIDER, _MODEL, _OUTPUTS, _USAGE, _INPUT_DETAILS, _OUTPUT_DETAILS}),
    recognise=recognise,
)
