"""MLflow's tracing: counts as a JSON object in `mlflow.chat.tokenUsage`, every text as a JSON string.

Source: mlflow 3.17.2 tracing/constant.py, entities/span.py (SpanType), anthropic/autolog.py and bedrock/utils.py
(cached tokens are added to input and total), gemini/autolog.py (candidates without thoughts, Gemini's total). crewai,
dspy, agno and pydantic_ai/autolog.py set sums on agents and modules, at times without any call below them. What the
exporter in OpenTelemetry's words (tracing/export/genai_semconv) sends is read as those.

- openai/autolog.py and openai/_agent_tracer.py: counts are set for chats and responses only, and by no version before
  3.0. What a client returned is `mlflow.spanOutputs`, its usage object included: that of embeddings is only there.
- langchain/langchain_tracer.py, on_llm_end and on_chat_model_end (`mlflow.message.format` is `langchain`): an answer
  from LangChain's cache has the first answer's counts, and the outputs are brought into OpenAI's form without id or
  mark. What is left to tell it is that it took no time.
"""

import json

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.gemini import with_thoughts
from spanmeter.usage.dialects.otel_genai import CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import FASTEST_ANSWER_NS, read_reply
from spanmeter.usage.dialects.reply_usage import read_reply_usage
from spanmeter.usage.span import Attributes, Span
from spanmeter.usage.values import json_object, text

NAME = "mlflow"
_USAGE = "mlflow.chat.tokenUsage"
_TYPE = "mlflow.spanType"
_MODEL = "mlflow.llm.model"
_PROVIDER = "mlflow.llm.provider"
_OUTPUTS = "mlflow.spanOutputs"
_FORMAT = "mlflow.message.format"
_CALLS = {"CHAT_MODEL": "chat", "LLM": "chat", "EMBEDDING": "embeddings"}
_COUNTS = CountNames(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read_input_tokens",),
    cache_write=("cache_creation_input_tokens",),
    total=("total_tokens",),
)


def recognise(span: Span) -> LlmCall | None:
    kind = _unquoted(span.attributes, _TYPE)
    counts = json_object(span.attributes.get(_USAGE))
    if not counts and kind not in _CALLS:
        return None
    model = _unquoted(span.attributes, _MODEL)
    is_call = kind in _CALLS
    usage, problem = read_counts(counts, _COUNTS)
    usage = with_thoughts(usage, counts, total="total_tokens", model=model)
    if is_call and not counts:
        usage, problem = _read_outputs(span.attributes)
    if not is_call and usage is None and not problem:
        return None
    reply = read_reply(span.attributes.get(_OUTPUTS)) if is_call else read_reply(None)
    role, reason = (Role.CALL, "") if is_call else (Role.AGGREGATE, f"span of type {kind}")
    if reply.from_cache:
        role, reason = Role.IGNORED, "answered from a cache"
    elif is_call and usage is not None and _took_no_time(span):
        role, reason = Role.IGNORED, "answered at once: from LangChain's cache"
    return make_call(
        span,
        dialect=NAME,
        role=role,
        usage=usage,
        problem=problem,
        reason=reason,
        operation=_CALLS.get(kind, ""),
        provider=semconv_provider(_unquoted(span.attributes, _PROVIDER)),
        response_model=model,
        response_id=reply.response_id,
        sole_source=True,
    )


def _read_outputs(attributes: Attributes) -> tuple[Usage | None, str]:
    return read_reply_usage(json_object(json_object(attributes.get(_OUTPUTS)).get("usage")))


def _took_no_time(span: Span) -> bool:
    return (
        _unquoted(span.attributes, _FORMAT) == "langchain"
        and not span.is_error
        and 0 < span.end_ns - span.start_ns < FASTEST_ANSWER_NS
    )


def _unquoted(attributes: Attributes, key: str) -> str:
    """A text, without the quotes that it has as a JSON string."""
    value = text(attributes, key)
    if value.startswith('"'):
        try:
            inner = json.loads(value)
        except ValueError:
            return value.strip('"')
        return inner if isinstance(inner, str) else ""
    return value


DIALECT = Dialect(
    name=NAME,
    keys=frozenset({_USAGE, _TYPE}),
    markers=("mlflow.chat.", "mlflow.spanType"),
    context=frozenset({_MODEL, _PROVIDER, _OUTPUTS, _FORMAT}),
    recognise=recognise,
)
