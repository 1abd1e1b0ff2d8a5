"""Facts: strands-agents 0.1.0 to 1.62.0, see the dialect's docstring."""

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SCOPE = "strands.telemetry.tracer"
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "strands-agents",
    "gen_ai.request.model": "us.amazon.nova-pro-v1:0",
    "gen_ai.usage.prompt_tokens": 100,
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.completion_tokens": 20,
    "gen_ai.usage.output_tokens": 20,
}


def test_two_names_are_one_count_and_the_framework_is_no_provider() -> None:
    call = known(span_of(SCOPE, "chat", CHAT | {"gen_ai.usage.total_tokens": 120}))
    assert (call.role, call.usage, call.provider) == (Role.CALL, Usage(input=100, output=20), "")


def test_before_1_62_the_total_says_whether_cache_is_inside() -> None:
    old = CHAT | {"gen_ai.usage.cache_read_input_tokens": 40, "gen_ai.usage.cache_write_input_tokens": 5}
    inside = known(span_of(SCOPE, "chat", old | {"gen_ai.usage.total_tokens": 120})).usage
    outside = known(span_of(SCOPE, "chat", old | {"gen_ai.usage.total_tokens": 165})).usage
    unsaid = known(span_of(SCOPE, "chat", old)).usage
    assert inside == Usage(input=55, cache_read=40, cache_write=5, output=20)
    assert outside == unsaid == Usage(input=100, cache_read=40, cache_write=5, output=20)


def test_with_the_conventions_names_cache_is_inside() -> None:
    new = CHAT | {"gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_read_input_tokens": 40}
    assert known(span_of(SCOPE, "chat", new)).usage == Usage(input=60, cache_read=40, output=20)


def test_the_first_versions_have_no_operations() -> None:
    counts: dict[str, AttributeValue] = {
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.system": "strands-agents",
    }
    assert known(span_of("strands-agents", "Model invoke", counts)).role is Role.CALL
    assert known(span_of("strands-agents", "My Agent", counts)).role is Role.AGGREGATE


def test_the_agent_s_span_is_a_sum_over_its_life() -> None:
    call = known(span_of(SCOPE, "invoke_agent A", CHAT | {"gen_ai.operation.name": "invoke_agent"}))
    assert (call.role, call.sole_source) == (Role.AGGREGATE, False)


def test_cycles_and_tools_are_no_llm_spans() -> None:
    for operation in ("execute_event_loop_cycle", "execute_tool", "invoke_swarm", "memory.extract"):
        attributes = {"gen_ai.operation.name": operation, "gen_ai.system": "strands-agents"}
        assert recognised(span_of(SCOPE, operation, attributes)) is None
