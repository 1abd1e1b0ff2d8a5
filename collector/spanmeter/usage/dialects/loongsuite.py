"""Alibaba's LoongSuite: the conventions, and answers from LangChain's cache that look like calls.

Source: loongsuite-otel-util-genai 0.9.1 span_utils.py (`gen_ai.span.kind`, which OpenTelemetry's own util-genai, of the
same scope, does not write); loongsuite-instrumentation-langchain 0.9.0 internal/_utils.py, _extract_token_usage and
_extract_response_model: the counts come from the message, the response's model from the reply's `llm_output`, which an
answer from LangChain's cache (langchain-core chat_models.py, _generate_with_cache) does not have; nor do live streams,
which take a model's time. No response has an id. LoongSuite's other instrumentations of the same version write the id,
or, for Google ADK, end their spans with the model's answer.
"""

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import COUNTS, IDENTITY_KEYS, make_call, read_counts
from spanmeter.usage.dialects.reply_text import FASTEST_ANSWER_NS
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

NAME = "loongsuite"
_SCOPE = "opentelemetry.util.genai.handler"
_KIND = "gen_ai.span.kind"
_OF_A_RESPONSE = ("gen_ai.response.model", "gen_ai.response.id")


def recognise(span: Span) -> LlmCall | None:
    """Answers from the cache alone: all else is what the conventions say."""
    if span.scope.name != _SCOPE or text(span.attributes, _KIND) != "LLM" or not _is_from_cache(span):
        return None
    usage, problem = read_counts(span.attributes)
    if usage is None and not problem:
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.IGNORED,
        usage=usage,
        problem=problem,
        reason="answered at once, by no model: from LangChain's cache",
    )


def _is_from_cache(span: Span) -> bool:
    return (
        not any(key in span.attributes for key in _OF_A_RESPONSE)
        and not span.is_error
        and 0 < span.end_ns - span.start_ns < FASTEST_ANSWER_NS
    )


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS | COUNTS.keys() | {_KIND},
    markers=("gen_ai.", "llm.usage."),
    recognise=recognise,
)
