"""Facts: agent-framework-core 1.23.0, semantic-kernel 1.30.0 and others, see the dialect's docstring."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

COUNTS: dict[str, AttributeValue] = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read.input_tokens": 30,
    "gen_ai.usage.reasoning.output_tokens": 20,
}
CHAT: dict[str, AttributeValue] = COUNTS | {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-own",
}


def test_agent_framework_hands_counts_on_as_its_clients_have_them() -> None:
    def usage(**fields: str) -> Usage | None:
        return known(
            span_of("agent_framework", "chat", CHAT | {f"gen_ai.{key}": value for key, value in fields.items()})
        ).usage

    assert usage() == Usage(input=70, cache_read=30, output=30, reasoning=20)
    excluded = Usage(input=100, cache_read=30, output=30, reasoning=20)
    assert usage(**{"provider.name": "anthropic"}) == excluded
    assert usage(**{"provider.name": "aws.bedrock"}) == excluded
    assert usage(**{"provider.name": "google.vertex.ai", "response.model": "claude-own"}) == excluded
    assert usage(**{"provider.name": "gcp.gemini"}) == Usage(input=70, cache_read=30, output=50, reasoning=20)


def test_an_agent_may_be_the_only_record() -> None:
    for scope in ("agent_framework", "Experimental.Microsoft.Agents.AI"):
        call = known(span_of(scope, "invoke_agent A", CHAT | {"gen_ai.operation.name": "invoke_agent"}))
        assert (call.role, call.sole_source) == (Role.AGGREGATE, True)
        assert call.reason


def test_a_tool_loop_is_a_sum() -> None:
    attributes = CHAT | {"gen_ai.operation.name": "orchestrate_tools"}
    call = known(span_of("Experimental.Microsoft.Extensions.AI", "orchestrate_tools", attributes))
    assert (call.role, call.sole_source) == (Role.AGGREGATE, False)


@pytest.mark.parametrize(
    ("operation", "meant", "streamed"),
    [
        ("chat.completions", "chat", False),
        ("chat.streaming_completions", "chat", True),
        ("text_completions", "text_completion", False),
    ],
)
def test_semantic_kernel_s_own_operations(operation: str, meant: str, streamed: bool) -> None:
    scope = "semantic_kernel.utils.telemetry.model_diagnostics.decorators"
    call = known(span_of(scope, operation, {"gen_ai.operation.name": operation, "gen_ai.system": "openai"}))
    assert (call.role, call.operation, call.usage, call.streamed) == (Role.CALL, meant, None, streamed)


def test_what_is_unknown_stays_empty() -> None:
    attributes = CHAT | {"gen_ai.provider.name": "unknown", "gen_ai.request.model": "unknown"}
    call = known(span_of("agent_framework", "chat unknown", attributes))
    assert (call.provider, call.request_model) == ("", "")


def test_autogen_s_agents_carry_no_usage() -> None:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.system": "autogen"}
    assert recognised(span_of("autogen-core", "invoke_agent A", attributes)) is None
