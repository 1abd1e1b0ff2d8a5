"""Facts: traceai-* 0.1.0 to 0.2.0, see the dialect's docstring."""

import json

import pytest

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.dialects.reply_text import MOST_CHARACTERS
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

KIND = "gen_ai.span.kind"
LLM: dict[str, AttributeValue] = {KIND: "LLM", "gen_ai.request.model": "m"}
REDACTED = "__REDACTED__"


def counts(input_tokens: int, output_tokens: int, total: int | None = None) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }
    return found if total is None else found | {"gen_ai.usage.total_tokens": total}


def traceai(package: str, attributes: Attributes, name: str = "x") -> LlmCall:
    return known(span_of(f"traceai_{package}", name, attributes))


def langchain(usage: dict[str, object], text: str = "hi", kind: str = "ChatGeneration") -> dict[str, AttributeValue]:
    message = {"content": text, "response_metadata": {"id": "msg_1"}, "usage_metadata": usage}
    return {"output.value": json.dumps({"generations": [[{"type": kind, "message": {"kwargs": message}}]]})}


CLAUDE: dict[str, object] = {
    "input_tokens": 140,
    "output_tokens": 20,
    "total_tokens": 160,
    "input_token_details": {"cache_read": 30, "cache_creation": 0, "ephemeral_5m_input_tokens": 10},
}


@pytest.mark.parametrize("text", ["hi", "x" * MOST_CHARACTERS])
def test_langchain_s_own_counts_have_the_cache_that_claude_s_leave_out(text: str) -> None:
    call = traceai("langchain", LLM | counts(100, 20) | {"ls_provider": "anthropic"} | langchain(CLAUDE, text))
    assert call.usage == Usage(input=100, cache_read=30, cache_write=10, output=20)
    assert (call.role, call.operation, call.provider, call.response_id) == (Role.CALL, "chat", "anthropic", "msg_1")


def test_without_langchain_s_counts_the_attributes_are_all_there_is() -> None:
    for output in (langchain({}), {"output.value": REDACTED}, {}):
        call = traceai("langchain", LLM | counts(100, 20, 120) | output)
        assert (call.role, call.usage) == (Role.CALL, Usage(input=100, output=20))


def test_langchain_s_counts_that_are_none_are_a_problem() -> None:
    call = traceai("langchain", LLM | counts(100, 20) | langchain(CLAUDE | {"output_tokens": -1}))
    assert (call.usage, bool(call.problem)) == (None, True)


def test_answers_from_langchain_s_cache_and_its_streams_are_told_by_the_reply() -> None:
    assert traceai("langchain", LLM | counts(100, 20) | langchain(CLAUDE | {"total_cost": 0})).role is Role.IGNORED
    stream = traceai("langchain", LLM | langchain({}, kind="ChatGenerationChunk"))
    assert (stream.role, stream.usage, stream.streamed) == (Role.CALL, None, True)


def test_gemini_s_thoughts_are_in_the_total_of_langchain_and_of_streams() -> None:
    gemini = LLM | {"gen_ai.request.model": "gemini-2.5-flash", "gen_ai.provider.name": "google"}
    stream = traceai("google_genai", gemini | counts(100, 20, 150))
    assert (stream.usage, stream.provider) == (Usage(input=100, output=20, reasoning=30), "gcp.gemini")
    whole = gemini | counts(100, 50, 150) | {"gen_ai.usage.output_tokens.reasoning": 30}
    assert traceai("google_genai", whole).usage == Usage(input=100, output=20, reasoning=30)
    older = langchain({"input_tokens": 100, "output_tokens": 20, "total_tokens": 150})
    assert traceai("langchain", gemini | counts(100, 20, 150) | older).usage == stream.usage


def test_aws_s_total_has_the_cache_that_its_prompt_has_not() -> None:
    converse = LLM | {"gen_ai.provider.name": "aws"} | counts(100, 20, 160)
    assert traceai("bedrock", converse).usage == Usage(input=140, output=20)
    cached: dict[str, AttributeValue] = {
        "gen_ai.provider.name": "anthropic",
        "gen_ai.usage.input_tokens.cache_read": 30,
        "gen_ai.usage.input_tokens.cache_write": 10,
    }
    invoke = traceai("bedrock", LLM | counts(140, 20) | cached)
    assert invoke.usage == Usage(input=100, cache_read=30, cache_write=10, output=20)
    assert invoke.provider == "aws.bedrock"
    assert traceai("bedrock", converse | {"gen_ai.usage.total_tokens": -1}).problem


@pytest.mark.parametrize(
    ("kind", "operation"), [("LLM", "chat"), ("EMBEDDING", "embeddings"), ("UNKNOWN", ""), ("", "")]
)
def test_kinds_of_calls(kind: str, operation: str) -> None:
    call = traceai("openai", counts(9, 1) | {KIND: kind, "embedding.model_name": "e"})
    assert (call.role, call.operation, call.request_model) == (Role.CALL, operation, "e")


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN", "TOOL", "RERANKER", "GUARDRAIL"])
def test_other_kinds_repeat_counts_or_are_no_llm_spans(kind: str) -> None:
    assert traceai("openai_agents", counts(9, 1) | {KIND: kind}).role is Role.AGGREGATE
    assert recognised(span_of("traceai_openai_agents", "turn", {KIND: kind})) is None


def test_calls_without_counts_are_calls_by_their_kind() -> None:
    asked = {KIND: "LLM", "gen_ai.request.parameters": '{"model": "gpt-4o", "stream": true}'}
    call = traceai("openai", asked)
    assert (call.role, call.usage, call.streamed, call.request_model) == (Role.CALL, None, True, "gpt-4o")
    assert not traceai("openai", {KIND: "LLM", "gen_ai.request.parameters": "{"}).streamed
    assert traceai("google_genai", {KIND: "LLM"}, "GenerateContentStream").streamed
    assert recognised(span_of("somebody", "x", {KIND: "LLM"})) is None


def test_only_a_reply_gives_an_id() -> None:
    answer: dict[str, AttributeValue] = {"output.value": '{"id": "chatcmpl-AbCd1234", "choices": []}'}
    assert traceai("openai", LLM | counts(9, 1) | answer).response_id == ""
    gemini: dict[str, AttributeValue] = {"output.value": '{"candidates": [], "response_id": "abc"}'}
    assert traceai("google_genai", LLM | counts(9, 1) | gemini).response_id == "abc"
    response: dict[str, AttributeValue] = {"gen_ai.request.parameters": '{"id": "resp_1", "model": "m"}'}
    assert traceai("openai_agents", LLM | counts(9, 1) | response).response_id == "resp_1"


def test_a_token_count_is_no_call() -> None:
    call = traceai("anthropic", LLM | {"gen_ai.usage.input_tokens": 100}, "MessagesCountTokens")
    assert call.role is Role.IGNORED


@pytest.mark.parametrize(
    ("package", "sole_source"), [("pydantic_ai._instrumentor", True), ("autogen", True), ("crewai", False)]
)
def test_a_run_s_sum_may_be_the_only_record(package: str, *, sole_source: bool) -> None:
    call = traceai(package, counts(100, 20, 120) | {"gen_ai.system": "openai"})
    assert (call.role, call.sole_source, call.usage) == (Role.AGGREGATE, sole_source, Usage(input=100, output=20))


def test_adk_s_agents_are_overwritten_by_their_calls() -> None:
    attributes = counts(100, 50, 150) | {KIND: "LLM", "gen_ai.usage.output_tokens.reasoning": 30}
    call = traceai("google_adk", attributes, "call_llm")
    assert (call.role, call.usage) == (Role.CALL, Usage(input=100, output=20, reasoning=30))
    agent = traceai("google_adk", attributes, "agent_run [weather]")
    assert (agent.role, agent.sole_source) == (Role.AGGREGATE, True)


def test_what_prepares_a_request_is_no_call() -> None:
    assert traceai("llamaindex", {KIND: "LLM"}, "OpenAI._prepare_chat_with_tools").role is Role.IGNORED
    assert traceai("haystack", {KIND: "LLM"}, "ChatPromptBuilder.run").role is Role.IGNORED
    assert traceai("haystack", {KIND: "LLM"}, "OpenAIGenerator.run").role is Role.CALL


def test_a_stream_of_llama_index_ends_before_it_begins() -> None:
    assert traceai("llamaindex", LLM | counts(9, 1), "OpenAI.stream_chat").looks_ahead_ns > 0
    assert traceai("llamaindex", LLM | counts(9, 1), "OpenAI.chat").looks_ahead_ns == 0


def test_counts_of_haystack_s_embedders_are_in_the_output() -> None:
    output: dict[str, AttributeValue] = {"output.value": json.dumps({"meta": {"usage": {"prompt_tokens": 9}}})}
    assert traceai("haystack", {KIND: "EMBEDDING"} | output).usage == Usage(input=9)
    assert traceai("haystack", {KIND: "LLM"} | output).usage is None


def test_an_operation_without_a_kind_is_the_conventions() -> None:
    for operation, role in (("chat", Role.CALL), ("invoke_agent", Role.AGGREGATE)):
        call = traceai("strands", counts(9, 1) | {"gen_ai.operation.name": operation})
        assert (call.dialect, call.role) == ("otel-genai", role)


def test_a_model_that_nobody_named_is_none() -> None:
    assert traceai("litellm", counts(9, 1) | LLM | {"gen_ai.request.model": "unknown_model"}).request_model == ""
