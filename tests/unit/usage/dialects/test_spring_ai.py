"""Facts: spring-ai 1.1.8 and 2.0.2, see the dialect's docstring."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SCOPE = "org.springframework.boot"
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "none",
    "gen_ai.response.model": "gpt-own",
    "gen_ai.usage.input_tokens": "100",
    "gen_ai.usage.output_tokens": "50",
    "gen_ai.usage.total_tokens": "150",
    "gen_ai.usage.cache_read.input_tokens": "30",
    "gen_ai.request.stream": "true",
}


def test_counts_are_texts_and_absent_names_are_none() -> None:
    call = known(span_of(SCOPE, "chat", CHAT | {"gen_ai.usage.cache_write.input_tokens": "null"}))
    assert call.usage == Usage(input=70, cache_read=30, output=50)
    assert (call.role, call.request_model, call.response_model, call.streamed) == (Role.CALL, "", "gpt-own", True)
    assert not call.problem


def test_anthropic_s_total_does_not_know_the_cache() -> None:
    call = known(span_of(SCOPE, "chat", CHAT | {"gen_ai.system": "anthropic"}))
    assert call.usage == Usage(input=100, cache_read=30, output=50)


def test_bedrock_s_total_does() -> None:
    call = known(
        span_of(SCOPE, "chat", CHAT | {"gen_ai.system": "bedrock_converse", "gen_ai.usage.total_tokens": "180"})
    )
    assert (call.usage, call.provider) == (Usage(input=100, cache_read=30, output=50), "aws.bedrock")


def test_embeddings_have_their_conventional_name() -> None:
    attributes = {"gen_ai.operation.name": "embedding", "gen_ai.system": "openai", "gen_ai.usage.input_tokens": "9"}
    call = known(span_of(SCOPE, "embedding", attributes))
    assert (call.operation, call.usage) == ("embeddings", Usage(input=9))


def test_clients_and_pictures_are_no_llm_spans() -> None:
    for operation in ("framework", "image"):
        attributes = {"gen_ai.operation.name": operation, "gen_ai.system": "spring_ai"}
        assert recognised(span_of(SCOPE, operation, attributes)) is None


def test_a_call_that_asks_for_tools_is_carried_on_up_to_version_1() -> None:
    """Spring Boot 3 has Spring AI 1, whose UsageCalculator.getCumulativeUsage adds up; Boot 4 has Spring AI 2."""
    for reasons in ('["TOOL_CALLS"]', '["tool_use"]', ["TOOL_CALLS"]):
        asking = CHAT | {"gen_ai.response.finish_reasons": reasons}
        assert known(span_of(SCOPE, "chat", asking, version="3.5.7")).carried_on
        assert not known(span_of(SCOPE, "chat", asking, version="4.0.7")).carried_on
    assert not known(
        span_of(SCOPE, "chat", CHAT | {"gen_ai.response.finish_reasons": '["STOP"]'}, version="3.5.7")
    ).carried_on
    assert not known(span_of(SCOPE, "chat", CHAT, version="3.5.7")).carried_on


@pytest.mark.parametrize("reasons", [7, True, 1.5, None, (), {"a": 1}], ids=str)
def test_reasons_that_are_none_are_no_error(reasons: AttributeValue) -> None:
    odd = CHAT | {"gen_ai.response.finish_reasons": reasons}
    assert not known(span_of(SCOPE, "chat", odd, version="3.5.7")).carried_on
