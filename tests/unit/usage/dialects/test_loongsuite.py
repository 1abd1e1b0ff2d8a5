"""Facts: loongsuite-instrumentation-langchain 0.9.0, see the dialect's docstring."""

from dataclasses import replace

import pytest

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, span_of

SCOPE = "opentelemetry.util.genai.handler"
ANSWER: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.span.kind": "LLM",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.provider.name": "openai",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}


def after(took_ns: int, attributes: Attributes, scope: str = SCOPE, *, is_error: bool = False) -> LlmCall:
    found = span_of(scope, "chat gpt-4o", attributes, is_error=is_error)
    return known(replace(found, end_ns=found.start_ns + took_ns))


def test_an_answer_at_once_without_anything_of_a_response_is_langchain_s_cache_s() -> None:
    assert after(490_000, ANSWER).role is Role.IGNORED


@pytest.mark.parametrize("key", ["gen_ai.response.model", "gen_ai.response.id"])
def test_a_response_s_model_or_id_is_a_call_s(key: str) -> None:
    assert after(490_000, ANSWER | {key: "x"}).role is Role.CALL


def test_what_took_a_model_s_time_failed_or_was_written_by_others_is_a_call() -> None:
    assert after(15_000_000, ANSWER).role is Role.CALL
    assert after(0, ANSWER).role is Role.CALL
    assert after(490_000, ANSWER, is_error=True).role is Role.CALL
    assert after(490_000, ANSWER, "opentelemetry.instrumentation.openai").role is Role.CALL
    plain = {key: value for key, value in ANSWER.items() if key != "gen_ai.span.kind"}
    assert after(490_000, plain).role is Role.CALL
    assert after(490_000, ANSWER | {"gen_ai.span.kind": "EMBEDDING"}).role is Role.CALL
