"""LiteLLM's own OpenTelemetry, both generations.

Source: litellm 1.106.2 integrations/opentelemetry.py (the callback `otel`) and integrations/otel (LITELLM_OTEL_V2).

- set_attributes: counts as LiteLLM normalises them (cached tokens included), `litellm.call_id`, and as the operation
  LiteLLM's call type. _handle_success: where a span is active, or the proxy made one, the attributes go onto that span,
  whoever made it; several calls under one span overwrite each other. Streams without usage report 0 and 0. Of the
  Responses API only the total is reported, for its usage has other names.
- set_attributes again: for the callbacks `arize`, `arize_phoenix`, `langfuse_otel` and `weave_otel` the span speaks
  OpenInference's language instead (integrations/arize/_utils.py 1.108.7), with names of LiteLLM's own for the reply.
- _maybe_log_raw_request: a span `raw_gen_ai_request` (or named by the request's metadata) beside it for every call,
  with each member of the provider's reply under `llm.<provider>.<member>` as Python's text of it. That is what was
  logged of a reply, not what LiteLLM counted; it is there only while message content is captured, and repeats the
  call. So it fills in the parts of a call that another span reports, by the same response id; where none does (calls
  that were overwritten on a shared span) it is marked as an estimate and waits for a person, though the counts are
  the provider's own.
- Answers from LiteLLM's cache look like calls: 1.106.2 marks them on no span. `litellm.cache_hit` is what others who
  trace LiteLLM write.
"""

import ast
import json
from collections.abc import Mapping

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects import openinference
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import (
    AGGREGATES,
    CALLS,
    COUNTS,
    IDENTITY_KEYS,
    IGNORED,
    make_call,
    read_counts,
)
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import Attributes, AttributeValue, Span
from spanmeter.usage.values import text, truth

NAME = "litellm"

_SCOPE = "litellm"
_OWN = ("litellm.call_id", "litellm.provider.model")
_CACHE_HIT = "litellm.cache_hit"
_STREAMING = ("llm.is_streaming", "litellm.request.streaming")
_REQUEST_TYPE = "llm.request.type"

_OPERATIONS = {
    "acompletion": "chat",
    "aembedding": "embeddings",
    "agenerate_content": "generate_content",
    "agenerate_content_stream": "generate_content",
    "anthropic_messages": "chat",
    "arerank": "rerank",
    "aresponses": "chat",
    "atext_completion": "text_completion",
    "completion": "chat",
    "embedding": "embeddings",
    "generate_content_stream": "generate_content",
    "responses": "chat",
}
"""litellm/types/utils.py, CallTypes."""

_PROVIDERS = (
    "anthropic",
    "azure",
    "azure_ai",
    "azure_text",
    "bedrock",
    "bedrock_converse",
    "cerebras",
    "cohere",
    "cohere_chat",
    "custom_openai",
    "databricks",
    "deepinfra",
    "deepseek",
    "fireworks_ai",
    "gemini",
    "github",
    "groq",
    "hosted_vllm",
    "lm_studio",
    "mistral",
    "nvidia_nim",
    "ollama_chat",
    "openai",
    "openai_like",
    "openrouter",
    "perplexity",
    "sambanova",
    "text-completion-openai",
    "together_ai",
    "vertex_ai",
    "vertex_ai_beta",
    "watsonx",
    "xai",
)
"""Those of litellm/types/utils.py, LlmProviders, whose replies have a usage object."""
_RAW_USAGE = {f"llm.{provider}.{member}": provider for provider in _PROVIDERS for member in ("usage", "usageMetadata")}
_RAW_IDENTITY = frozenset(
    f"llm.{provider}.{member}" for provider in _PROVIDERS for member in ("id", "responseId", "model", "modelVersion")
)
_OPENINFERENCE_IDENTITY = frozenset({"llm.model_name", "llm.provider", "llm.response.model", "llm.response.id"})
_MOST_CHARACTERS = 16 * 1024


def recognise(span: Span) -> LlmCall | None:
    attributes = span.attributes
    if span.scope.name != _SCOPE and not any(key in attributes for key in _OWN):
        return None
    raw = next((key for key in attributes if key in _RAW_USAGE), "")
    if raw:
        return _recognise_raw(span, raw)
    named = text(attributes, "gen_ai.operation.name", _REQUEST_TYPE)
    operation = _OPERATIONS.get(named, named)
    usage, problem = read_counts(attributes)
    if usage is None and not problem:
        usage, problem = read_counts(attributes, openinference.COUNTS)
    is_call = operation in CALLS or bool(text(attributes, _REQUEST_TYPE))
    if usage is None and not problem and not is_call:
        return None
    role, reason = _role(attributes, operation)
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation=operation,
        provider=_provider(attributes),
        request_model=text(attributes, "llm.model_name"),
        response_model=text(attributes, "llm.response.model"),
        response_id=text(attributes, "llm.response.id"),
        streamed=any(truth(attributes, key) for key in _STREAMING),
    )


def _role(attributes: Attributes, operation: str) -> tuple[Role, str]:
    if truth(attributes, _CACHE_HIT):
        return Role.IGNORED, "answered from LiteLLM's cache"
    if operation in IGNORED or operation.startswith("litellm."):
        return Role.IGNORED, f"operation {operation}"
    if operation in AGGREGATES:
        return Role.AGGREGATE, f"operation {operation}"
    return Role.CALL, ""


def _provider(attributes: Attributes) -> str:
    """`gen_ai.system` is empty for embeddings and the Responses API; the model LiteLLM called may have it as prefix."""
    named = semconv_provider(text(attributes, "gen_ai.provider.name", "gen_ai.system", "llm.provider"))
    prefix, slash, _ = text(attributes, "litellm.provider.model").partition("/")
    return named or (semconv_provider(prefix) if slash else "")


def _recognise_raw(span: Span, key: str) -> LlmCall | None:
    attributes = span.attributes
    provider = _RAW_USAGE[key]
    usage, problem = _read_reply(attributes[key])
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        provider=semconv_provider(provider),
        response_model=text(attributes, f"llm.{provider}.model", f"llm.{provider}.modelVersion"),
        response_id=text(attributes, f"llm.{provider}.id", f"llm.{provider}.responseId"),
        estimated=True,
    )


def _read_reply(value: AttributeValue) -> tuple[Usage | None, str]:
    reply = _literal(value)
    return read_reply_usage(reply) if isinstance(reply, Mapping) else (None, "")


def _literal(value: AttributeValue) -> object:
    """What a Python or JSON text says; None for what is neither, or longer than any usage object."""
    if not isinstance(value, str):
        return value
    if len(value) > _MOST_CHARACTERS:
        return None
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS
    | COUNTS.keys()
    | _RAW_USAGE.keys()
    | _RAW_IDENTITY
    | openinference.COUNTS.keys()
    | _OPENINFERENCE_IDENTITY
    | {*_OWN, *_STREAMING, _CACHE_HIT, _REQUEST_TYPE},
    markers=("gen_ai.", "llm.", "litellm.", "decision."),
    recognise=recognise,
)
