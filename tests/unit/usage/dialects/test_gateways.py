"""Facts: Kong AI Gateway 3.13, Envoy AI Gateway, vLLM, see the dialects' docstring."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "azure",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}


def test_kong_s_request_and_the_tool_call_in_its_reply_have_one_id() -> None:
    request = known(span_of("kong-internal", "kong.gen_ai", CHAT))
    tool = known(span_of("kong-internal", "kong.gen_ai", CHAT | {"gen_ai.tool.name": "weather"}))
    assert (request.role, request.provider) == (Role.CALL, "azure.ai.openai")
    assert (tool.role, tool.response_id, tool.usage) == (Role.CALL, request.response_id, request.usage)


@pytest.mark.parametrize("status", ["hit", "Hit"])
def test_kong_s_cache_is_no_provider(status: str) -> None:
    call = known(span_of("kong-internal", "kong.gen_ai", CHAT | {"kong.gen_ai.cache.status": status}))
    assert (call.role, bool(call.reason)) == (Role.IGNORED, True)
    assert known(span_of("x", "chat", CHAT | {"kong.gen_ai.cache.status": "miss"})).role is Role.CALL


def test_kong_s_other_spans() -> None:
    assert recognised(span_of("kong-internal", "kong.a2a", {"rpc.system": "jsonrpc"})) is None


def test_envoy_names_backends_and_counts_tokens() -> None:
    envoy = "envoyproxy/ai-gateway"
    assert known(span_of(envoy, "chat m", CHAT | {"gen_ai.provider.name": "gcp.anthropic"})).provider == "gcp.vertex_ai"
    counting = CHAT | {"gen_ai.operation.name": "tokenize"}
    assert known(span_of(envoy, "tokenize m", counting)).role is Role.IGNORED


def test_vllm_s_request_id_is_its_response_s() -> None:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.request.id": "chatcmpl-8c1e2d3f4a5b",
        "gen_ai.response.model": "qwen",
    }
    call = known(span_of("vllm.llm_engine", "llm_request", attributes))
    assert (call.usage, call.response_id) == (Usage(input=7, output=3), "chatcmpl-8c1e2d3f4a5b")
