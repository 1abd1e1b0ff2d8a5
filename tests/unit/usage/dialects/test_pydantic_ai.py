"""Facts: pydantic-ai-slim 0.4.0 to 2.68.0, see the dialect's docstring."""

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "o4-mini",
    "gen_ai.response.model": "o4-mini-2025-04-16",
    "gen_ai.response.id": "chatcmpl-own",
    "gen_ai.usage.input_tokens": 700,
    "gen_ai.usage.output_tokens": 90,
}


def test_a_request_with_its_details() -> None:
    details = {"gen_ai.usage.details.cache_read_tokens": 256, "gen_ai.usage.details.reasoning_tokens": 64}
    call = known(span_of("pydantic-ai", "chat o4-mini", CHAT | details, version="1.100.0"))
    assert (call.role, call.dialect) == (Role.CALL, "pydantic-ai")
    assert call.usage == Usage(input=444, cache_read=256, output=26, reasoning=64)
    assert (call.provider, call.response_model, call.response_id) == ("openai", "o4-mini-2025-04-16", "chatcmpl-own")


def test_both_names_of_cached_tokens_are_one_count() -> None:
    twice = {"gen_ai.usage.cache_read.input_tokens": 256, "gen_ai.usage.details.cache_read_tokens": 256}
    assert known(span_of("pydantic-ai", "chat", CHAT | twice)).usage == Usage(input=444, cache_read=256, output=90)


def test_thoughts_are_outside_the_output_up_to_0_6() -> None:
    thoughts = CHAT | {"gen_ai.usage.details.thoughts_tokens": 30}
    old = known(span_of("pydantic-ai", "chat", thoughts, version="0.6.2")).usage
    new = known(span_of("pydantic-ai", "chat", thoughts, version="0.7.6")).usage
    assert old == Usage(input=700, output=90, reasoning=30)
    assert new == Usage(input=700, output=60, reasoning=30)


def test_a_run_is_a_sum_in_every_version() -> None:
    sums: dict[str, dict[str, AttributeValue]] = {
        "agent run": {"model_name": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 2},
        "invoke_agent helper": {
            "gen_ai.operation.name": "invoke_agent",
            "model_name": "gpt-4o",
            "gen_ai.aggregated_usage.input_tokens": 5,
            "gen_ai.aggregated_usage.output_tokens": 2,
        },
    }
    for name, attributes in sums.items():
        call = known(span_of("pydantic-ai", name, attributes))
        assert (call.role, call.usage, call.request_model) == (Role.AGGREGATE, Usage(input=5, output=2), "gpt-4o")
        assert call.reason and not call.sole_source


def test_tools_and_runs_without_usage_are_no_llm_spans() -> None:
    assert recognised(span_of("pydantic-ai", "running tool", {"gen_ai.tool.name": "weather"})) is None
    assert recognised(span_of("pydantic-ai", "agent run", {"model_name": "gpt-4o"})) is None


def test_a_failed_request_is_a_call_without_usage() -> None:
    call = known(span_of("pydantic-ai", "chat", {"gen_ai.operation.name": "chat"}, is_error=True))
    assert (call.role, call.usage, call.is_error) == (Role.CALL, None, True)


def test_google_s_services_have_their_conventional_names() -> None:
    for named, provider in {
        "google-gla": "gcp.gemini",
        "google-vertex": "gcp.vertex_ai",
        "bedrock": "aws.bedrock",
    }.items():
        attributes = {key: value for key, value in CHAT.items() if key != "gen_ai.provider.name"}
        assert known(span_of("pydantic-ai", "chat", attributes | {"gen_ai.system": named})).provider == provider
