"""MLflow's tracing: counts as a JSON object in `mlflow.chat.tokenUsage`, every text as a JSON string.

Source: mlflow 3.17.2 tracing/constant.py, entities/span.py (SpanType), anthropic/autolog.py and bedrock/utils.py
(cached tokens are added to input and total), gemini/autolog.py (candidates without thoughts, Gemini's total). crewai,
dspy, agno and pydantic_ai/autolog.py set sums on agents and modules, at times without any call below them. What the
exporter in OpenTelemetry's words (tracing/export/genai_semconv) sends is read as those.
"""

import json

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.gemini import with_thoughts
from spanmeter.usage.dialects.otel_genai import CountNames, make_call, read_counts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter.usage.dialects.reply_text import read_reply
from spanmeter.usage.span import Attributes, Span
from spanmeter.usage.values import json_object, text

NAME = "mlflow"
_USAGE = "mlflow.chat.tokenUsage"
_TYPE = "mlflow.spanType"
_MODEL = "mlflow.llm.model"
_PROVIDER = "mlflow.llm.provider"
_OUTPUTS = "mlflow.spanOutputs"
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
    usage, problem = read_counts(counts, _COUNTS)
    usage = with_thoughts(usage, counts, total="total_tokens", model=model)
    is_call = kind in _CALLS
    if not is_call and usage is None and not problem:
        return None
    reply = read_reply(span.attributes.get(_OUTPUTS)) if is_call else read_reply(None)
    role, reason = (Role.CALL, "") if is_call else (Role.AGGREGATE, f"span of type {kind}")
    if reply.from_cache:
        role, reason = Role.IGNORED, "answered from a cache"
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
    context=frozenset({_MODEL, _PROVIDER, _OUTPUTS}),
    recognise=recognise,
)
