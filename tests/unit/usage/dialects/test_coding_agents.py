"""Facts: Claude Code 2.1, Codex 0.137, Gemini CLI, see the dialects' docstring."""

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of


def test_claude_code_counts_under_bare_names_and_without_cache() -> None:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.system": "anthropic",
        "model": "claude-x",
        "input_tokens": "2",
        "output_tokens": 120,
        "cache_read_tokens": 8000,
        "cache_creation_tokens": 70,
        "request_id": "req_1",
    }
    call = known(span_of("com.anthropic.claude_code.tracing", "claude_code.llm_request", attributes))
    assert call.usage == Usage(input=2, cache_read=8000, cache_write=70, output=120)
    assert (call.provider, call.request_model, call.response_id) == ("anthropic", "claude-x", "req_1")
    assert recognised(span_of("com.anthropic.claude_code.tracing", "claude_code.tool", {"model": "claude-x"})) is None


def test_a_turn_of_codex_is_the_sum_of_its_requests_or_all_there_is() -> None:
    request: dict[str, AttributeValue] = {
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.output_tokens": 20,
        "codex.usage.reasoning_output_tokens": 12,
        "codex.usage.total_tokens": 120,
    }
    call = known(span_of("codex_cli_rs", "handle_responses", request))
    assert (call.role, call.usage) == (Role.CALL, Usage(input=40, cache_read=60, output=8, reasoning=12))
    turn: dict[str, AttributeValue] = {
        "codex.turn.token_usage.input_tokens": 100,
        "codex.turn.token_usage.cached_input_tokens": 60,
        "codex.turn.token_usage.output_tokens": 20,
        "codex.turn.token_usage.total_tokens": 120,
    }
    call = known(span_of("codex_cli_rs", "session_task.turn", turn))
    assert (call.role, call.sole_source, call.usage) == (
        Role.AGGREGATE,
        True,
        Usage(input=40, cache_read=60, output=20),
    )
    assert recognised(span_of("codex_cli_rs", "handle_responses", {})) is None


def test_gemini_cli_has_operations_of_its_own() -> None:
    counts: dict[str, AttributeValue] = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 4}
    call = known(span_of("gemini-cli", "llm_call", counts | {"gen_ai.operation.name": "llm_call"}))
    agent = known(span_of("gemini-cli", "agent_call", counts | {"gen_ai.operation.name": "agent_call"}))
    assert (call.role, call.provider, agent.role) == (Role.CALL, "gcp.gemini", Role.AGGREGATE)
    assert recognised(span_of("gemini-cli", "tool_call", {"gen_ai.operation.name": "tool_call"})) is None
