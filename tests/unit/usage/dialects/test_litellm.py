"""Facts: litellm 1.106.2, see the dialect's docstring."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "acompletion",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.total_tokens": 120,
    "llm.request.type": "completion",
    "litellm.call_id": "c-1",
}
REPLY = (
    "{'completion_tokens': 20, 'prompt_tokens': 100, 'total_tokens': 120, "
    "'completion_tokens_details': {'audio_tokens': None, 'reasoning_tokens': 8}, "
    "'prompt_tokens_details': {'cached_tokens': 40}}"
)


@pytest.mark.parametrize(("scope", "name"), [("litellm", "litellm_request"), ("shop.server", "POST /ask")])
def test_a_call_is_a_call_on_whatever_span_litellm_writes_it(scope: str, name: str) -> None:
    call = known(span_of(scope, name, CHAT))
    assert (call.role, call.usage, call.operation) == (Role.CALL, Usage(input=100, output=20), "chat")


def test_zeros_of_a_stream_are_no_counts() -> None:
    zeros = CHAT | {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0, "llm.is_streaming": "True"}
    call = known(span_of("litellm", "litellm_request", zeros))
    assert (call.usage, call.streamed) == (None, True)


def test_the_provider_is_the_called_model_s_prefix_where_none_is_named() -> None:
    embedding = CHAT | {
        "gen_ai.system": "",
        "gen_ai.operation.name": "embedding",
        "litellm.provider.model": "bedrock/titan",
    }
    call = known(span_of("litellm", "litellm_request", embedding))
    assert (call.provider, call.operation) == ("aws.bedrock", "embeddings")


def test_the_logged_reply_fills_in_parts_and_is_no_count_by_itself() -> None:
    raw: dict[str, AttributeValue] = {
        "llm.openai.usage": REPLY,
        "llm.openai.id": "chatcmpl-9",
        "llm.openai.model": "gpt-x-1",
    }
    call = known(span_of("litellm", "raw_gen_ai_request", raw))
    assert call.usage == Usage(input=60, cache_read=40, output=12, reasoning=8)
    assert (call.estimated, call.response_id, call.response_model) == (True, "chatcmpl-9", "gpt-x-1")


@pytest.mark.parametrize("reply", ["", "{'prompt_tokens': ", "None", "[1]", "{" * 9000, "'" * 20_000])
def test_other_texts_are_no_replies(reply: str) -> None:
    assert recognised(span_of("litellm", "raw_gen_ai_request", {"llm.openai.usage": reply})) is None


def test_replies_of_other_providers() -> None:
    gemini = '{"promptTokenCount": 10, "candidatesTokenCount": 2, "thoughtsTokenCount": 5, "totalTokenCount": 17}'
    call = known(span_of("litellm", "raw_gen_ai_request", {"llm.gemini.usageMetadata": gemini}))
    assert (call.usage, call.provider) == (Usage(input=10, output=2, reasoning=5), "gcp.gemini")
    anthropic = (
        "{'input_tokens': 3, 'cache_read_input_tokens': 40, 'cache_creation_input_tokens': 0, 'output_tokens': 2}"
    )
    call = known(span_of("litellm", "raw_gen_ai_request", {"llm.anthropic.usage": anthropic}))
    assert call.usage == Usage(input=3, cache_read=40, output=2)


def test_a_cache_s_answer_is_no_call() -> None:
    assert known(span_of("litellm", "litellm_request", CHAT | {"litellm.cache_hit": True})).role is Role.IGNORED


def test_services_and_management_are_no_llm_spans() -> None:
    assert recognised(span_of("litellm", "redis.get llm_response", {"call_type": "get"})) is None
    managing: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "litellm.responses_management",
        "litellm.call_id": "c-2",
    }
    assert recognised(span_of("litellm", "x", managing)) is None


def test_callbacks_that_speak_openinference() -> None:
    # integrations/arize/_utils.py, _set_usage_outputs: `arize`, `arize_phoenix`, `langfuse_otel` and `weave_otel`
    attributes: dict[str, AttributeValue] = {
        "openinference.span.kind": "LLM",
        "llm.request.type": "completion",
        "llm.provider": "openai",
        "llm.model_name": "gpt-4o-mini",
        "llm.response.model": "gpt-4o-mini-2024-07-18",
        "llm.response.id": "chatcmpl-abc",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "llm.token_count.total": 120,
        "llm.token_count.prompt_details.cache_read": 30,
        "llm.token_count.completion_details.reasoning": 5,
    }
    call = known(span_of("litellm", "litellm_request", attributes))
    assert call.usage == Usage(input=70, cache_read=30, output=15, reasoning=5)
    assert (call.operation, call.provider, call.response_id) == ("chat", "openai", "chatcmpl-abc")
    assert (call.request_model, call.response_model) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    embedding: dict[str, AttributeValue] = {"llm.request.type": "embedding", "llm.token_count.prompt": 9}
    assert known(span_of("litellm", "litellm_request", embedding)).operation == "embeddings"
