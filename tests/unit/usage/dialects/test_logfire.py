"""Facts: logfire 2.0.0 to 5.2.0, see the dialect's docstring."""

import json

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.dialects import logfire
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

REQUEST: dict[str, AttributeValue] = {
    "logfire.span_type": "span",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-own",
    "request_data": '{"model":"claude-own"}',
}
RAW = json.dumps(
    {"input_tokens": 40, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 60, "output_tokens": 9}
)
COUNTED: dict[str, AttributeValue] = {
    "gen_ai.usage.input_tokens": 600,
    "gen_ai.usage.output_tokens": 9,
    "gen_ai.usage.raw": RAW,
}


def test_cached_tokens_are_in_the_raw_usage_only() -> None:
    call = known(span_of("logfire.anthropic", "Message with 'claude-own'", REQUEST | COUNTED))
    assert (call.role, call.provider, call.looks_back_ns) == (Role.CALL, "anthropic", 0)
    assert call.usage == Usage(input=40, cache_read=500, cache_write=60, output=9)


def test_openai_s_raw_usage_includes_cache_and_reasoning() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    call = known(span_of("logfire.openai", "Chat Completion", REQUEST | {"gen_ai.usage.raw": json.dumps(raw)}))
    assert call.usage == Usage(input=70, cache_read=30, output=30, reasoning=20)


def test_a_stream_s_usage_is_on_the_log_span_which_looks_back() -> None:
    request = known(span_of("logfire.anthropic", "Message with 'claude-own'", REQUEST))
    assert (request.role, request.usage) == (Role.IGNORED, None)
    log = REQUEST | COUNTED | {"logfire.span_type": "log", "duration": 2.5}
    call = known(span_of("logfire.anthropic", "streaming response from 'claude-own' took 2.50s", log))
    assert (call.role, call.streamed) == (Role.CALL, True)
    assert call.looks_back_ns > 2.5 * logfire.SECOND_NS


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1, "2", True, 10**30, None])
def test_an_odd_duration_still_looks_back(duration: float) -> None:
    log = REQUEST | COUNTED | {"logfire.span_type": "log", "duration": duration}
    assert known(span_of("logfire.anthropic", "streaming", log)).looks_back_ns >= logfire.SECOND_NS


def test_a_stream_without_usage_is_an_unmetered_call() -> None:
    call = known(span_of("logfire.openai", "streaming response", REQUEST | {"logfire.span_type": "log", "duration": 1}))
    assert (call.role, call.usage, call.streamed) == (Role.CALL, None, True)


def test_a_failed_request_is_an_unmetered_call() -> None:
    call = known(span_of("logfire.openai", "Chat Completion", REQUEST, is_error=True))
    assert (call.role, call.usage, call.is_error) == (Role.CALL, None, True)


def test_old_versions_have_usage_in_the_reply_alone() -> None:
    old = {
        "request_data": '{"model":"claude-own"}',
        "response_data": json.dumps({"usage": json.loads(RAW), "message": {}}),
    }
    call = known(span_of("logfire.anthropic", "Message with 'claude-own'", old))
    assert (call.request_model, call.provider) == ("claude-own", "anthropic")
    assert call.usage == Usage(input=40, cache_read=500, cache_write=60, output=9)


def test_placeholders_are_no_calls_whatever_wrote_them() -> None:
    for scope in ("logfire.openai", "pydantic-ai", "gcp.vertex.agent", "other"):
        pending = known(span_of(scope, "chat", REQUEST | {"logfire.span_type": "pending_span"}))
        assert pending.role is Role.IGNORED
    assert recognised(span_of("logfire", "work", {"logfire.span_type": "pending_span"})) is None


def test_a_claude_agent_s_run_bills_and_its_shares_never() -> None:
    run: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.input_tokens": 600,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 500,
    }
    call = known(span_of("logfire.claude_agent_sdk", "invoke_agent", run))
    assert (call.role, call.sole_source) == (Role.AGGREGATE, True)
    assert call.usage == Usage(input=100, cache_read=500, output=9)
    share: dict[str, AttributeValue] = {"gen_ai.operation.name": "chat", "gen_ai.usage.partial.input_tokens": 600}
    assert known(span_of("logfire.claude_agent_sdk", "chat claude-own", share)).role is Role.IGNORED
    cut = known(span_of("logfire.claude_agent_sdk", "invoke_agent", {"gen_ai.operation.name": "invoke_agent"}))
    assert (cut.role, cut.usage) == (Role.CALL, None)


def test_the_sum_over_all_below_is_never_read() -> None:
    assert recognised(span_of("logfire", "handle", {"logfire.metrics": '{"gen_ai.client.token.usage": {}}'})) is None
