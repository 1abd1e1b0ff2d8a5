"""Facts: anthropic 2.12.0, mistralai 1.12.4, genai-anthropic 1.3b0, see the dialects' docstring."""

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SDK = "com.anthropic.sdk.python"
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read.input_tokens": 40,
}
MISTRAL = "mistralai_sdk_tracer"


def test_anthropic_s_input_includes_cache() -> None:
    call = known(span_of(SDK, "anthropic.messages.create", CHAT))
    assert (call.usage, call.estimated) == (Usage(input=60, cache_read=40, output=20), False)


def test_a_stream_without_a_stop_reason_was_left_early() -> None:
    stream = CHAT | {"gen_ai.request.stream": True}
    genai = "opentelemetry.instrumentation.genai.anthropic"
    assert known(span_of(SDK, "anthropic.messages.create", stream)).estimated
    assert known(span_of(genai, "chat m", stream)).estimated
    ended = stream | {"anthropic.message.stop_reason": "end_turn"}
    assert not known(span_of(SDK, "anthropic.messages.create", ended)).estimated
    assert not known(span_of(genai, "chat m", stream | {"gen_ai.response.finish_reasons": ["stop"]})).estimated


def test_counting_tokens_is_no_call() -> None:
    counting = span_of(SDK, "anthropic.messages.count_tokens", {"gen_ai.provider.name": "anthropic"})
    assert known(counting).role is Role.IGNORED
    assert recognised(span_of(SDK, "anthropic.files.list", {"gen_ai.provider.name": "anthropic"})) is None


def test_mistral_mixes_names_and_leaves_the_operation_out() -> None:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.usage.prompt_tokens": 11,
        "gen_ai.usage.output_tokens": 4,
        "mistral_ai.request.total_tokens": 15,
    }
    chat = known(span_of(MISTRAL, "chat_completion_v1_chat_completions_post", attributes))
    embedding = known(span_of(MISTRAL, "embeddings_v1_embeddings_post", attributes))
    assert (chat.usage, chat.operation) == (Usage(input=11, output=4), "chat")
    assert embedding.operation == "embeddings"
    assert chat.mixes_up


def test_a_conversation_with_mistral_s_agents_is_one_request() -> None:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.prompt_tokens": 9,
    }
    assert known(span_of(MISTRAL, "agents_api_v1_conversations_start", attributes)).role is Role.CALL
    assert recognised(span_of(MISTRAL, "files_api_routes_list_files", {"gen_ai.provider.name": "mistral_ai"})) is None
