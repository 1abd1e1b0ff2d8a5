"""Facts: openinference-instrumentation-* as named in the dialect's docstring."""

import json

import pytest

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

OPENAI = "openinference.instrumentation.openai"
KIND = "openinference.span.kind"


def counts(prompt: int, completion: int, **more: int) -> dict[str, AttributeValue]:
    names = {
        "cache_read": "prompt_details.cache_read",
        "cache_write": "prompt_details.cache_write",
        "cache_creation": "prompt_details.cache_creation",
        "cache_input": "prompt_details.cache_input",
        "reasoning": "completion_details.reasoning",
        "total": "total",
    }
    named: dict[str, AttributeValue] = {f"llm.token_count.{names[name]}": value for name, value in more.items()}
    return named | {"llm.token_count.prompt": prompt, "llm.token_count.completion": completion}


def llm(attributes: Attributes, *, package: str = "openai", name: str = "ChatCompletion", version: str = "") -> LlmCall:
    scope = f"openinference.instrumentation.{package}"
    return known(span_of(scope, name, {KIND: "LLM"} | dict(attributes), version=version))


def test_a_call() -> None:
    call = llm(
        counts(100, 20, cache_read=30, reasoning=5, total=120)
        | {
            "llm.model_name": "gpt-4o-2024-08-06",
            "llm.system": "openai",
            "output.value": '{"id":"chatcmpl-abc","choices":[]}',
        }
    )
    assert (call.role, call.operation, call.provider) == (Role.CALL, "chat", "openai")
    assert call.usage == Usage(input=70, cache_read=30, output=15, reasoning=5)
    assert (call.response_model, call.response_id) == ("gpt-4o-2024-08-06", "chatcmpl-abc")


def test_embeddings_have_input_and_no_look_for_an_id() -> None:
    attributes: dict[str, AttributeValue] = {
        KIND: "EMBEDDING",
        "llm.token_count.prompt": 9,
        "output.value": '{"id": "x"}',
    }
    call = known(span_of(OPENAI, "CreateEmbeddings", attributes))
    assert (call.operation, call.usage, call.response_id) == ("embeddings", Usage(input=9), "")


def test_counts_of_haystack_s_embedders_are_in_the_output_only() -> None:
    output = {"embedding": "<8-dimensional vector>", "meta": {"usage": {"prompt_tokens": 9, "total_tokens": 9}}}
    attributes: dict[str, AttributeValue] = {KIND: "EMBEDDING", "output.value": json.dumps(output)}
    scope = "openinference.instrumentation.haystack"
    assert known(span_of(scope, "CreateEmbeddings", attributes)).usage == Usage(input=9)
    pipeline: dict[str, AttributeValue] = {KIND: "CHAIN", "output.value": json.dumps(output)}
    assert recognised(span_of(scope, "Pipeline", pipeline)) is None


def test_counts_of_cohere_s_embeddings_are_in_the_output_only() -> None:
    reply = {"id": "x", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 3740.0}}}
    attributes: dict[str, AttributeValue] = {KIND: "EMBEDDING", "output.value": json.dumps(reply)}
    call = known(span_of("openinference.instrumentation.cohere", "CreateEmbeddings", attributes))
    assert (call.usage, call.provider, call.operation) == (Usage(input=3740), "cohere", "embeddings")
    unread = known(span_of("openinference.instrumentation.cohere", "CreateEmbeddings", {KIND: "EMBEDDING"}))
    assert (unread.role, unread.usage) == (Role.CALL, None)
    other = known(span_of("openinference.instrumentation.openai", "CreateEmbeddings", attributes))
    assert other.usage is None


def test_guardrails_own_spans_are_calls_where_it_asks_the_model() -> None:
    # guardrails-ai 0.11.0 telemetry/runner_tracing.py: guard > step > call, all of one kind
    attributes = counts(100, 20, total=120) | {KIND: "GUARDRAIL"}
    assert known(span_of("guardrails-ai", "call", attributes)).role is Role.CALL
    assert known(span_of("guardrails-ai", "guard", attributes)).role is Role.AGGREGATE


@pytest.mark.parametrize(
    ("provider", "system", "expected"),
    [
        ("azure", "openai", "azure.ai.openai"),
        ("aws", "anthropic", "aws.bedrock"),
        ("google", "vertexai", "gcp.vertex_ai"),
        ("google", "", "gcp.gemini"),
        ("", "mistralai", "mistral_ai"),
        ("xai", "openai", "x_ai"),
        ("Groq", "", "groq"),
        ("", "", "openai"),
    ],
)
def test_providers_have_the_conventions_names(provider: str, system: str, expected: str) -> None:
    assert llm(counts(1, 1) | {"llm.provider": provider, "llm.system": system}).provider == expected


def test_envoy_s_cache_writes_and_token_counters() -> None:
    attributes: dict[str, AttributeValue] = {KIND: "LLM"} | counts(100, 10, cache_creation=40, total=110)
    call = known(span_of("envoyproxy/ai-gateway", "Message", attributes))
    assert call.usage == Usage(input=60, cache_write=40, output=10)
    counter: dict[str, AttributeValue] = {KIND: "TOKEN_COUNTER", "llm.token_count.prompt": 100}
    assert known(span_of("envoyproxy/ai-gateway", "CountTokens", counter)).role is Role.IGNORED


def test_counting_tokens_and_preparing_a_request_are_no_calls() -> None:
    assert llm({}, package="anthropic", name="messages.count_tokens").role is Role.IGNORED
    assert llm({}, package="llama_index", name="OpenAI._prepare_chat_with_tools").role is Role.IGNORED


def test_agents_and_chains_are_sums_or_nothing() -> None:
    agent: dict[str, AttributeValue] = {KIND: "AGENT"} | counts(100, 20)
    call = known(span_of("openinference.instrumentation.smolagents", "CodeAgent.run", agent))
    assert (call.role, call.sole_source, call.reason) == (Role.AGGREGATE, False, "kind AGENT")
    for kind in ("AGENT", "CHAIN", "TOOL", "RETRIEVER"):
        assert recognised(span_of("openinference.instrumentation.langchain", "x", {KIND: kind})) is None


def test_claude_agent_sdk_is_the_only_record() -> None:
    attributes: dict[str, AttributeValue] = {KIND: "AGENT"} | counts(100, 20, cache_read=30, cache_write=4, total=120)
    scope = "openinference.instrumentation.claude_agent_sdk"
    old = known(span_of(scope, "ClaudeAgentSDK.query", attributes, version="0.1.12"))
    new = known(span_of(scope, "ClaudeAgentSDK.query", attributes, version="0.1.13"))
    assert old.usage == Usage(input=100, cache_read=30, cache_write=4, output=20)
    assert new.usage == Usage(input=66, cache_read=30, cache_write=4, output=20)
    assert old.role is Role.AGGREGATE
    assert old.sole_source


def test_bedrock_s_total_says_whether_cache_is_inside() -> None:
    before = llm(counts(100, 20, cache_read=30, total=150), package="bedrock", name="bedrock.converse")
    since = llm(counts(130, 20, cache_read=30, total=150), package="bedrock", name="bedrock.converse")
    assert before.usage == since.usage == Usage(input=100, cache_read=30, output=20)
    nova = counts(100, 20, cache_read=30, total=120) | {"llm.model_name": "us.amazon.nova-pro-v1:0"}
    stream = llm(nova, package="bedrock", name="bedrock.invoke_model_with_response_stream")
    assert stream.usage == Usage(input=100, cache_read=30, output=20)


def test_javascript_s_bedrock_never_includes_cached_tokens() -> None:
    scope = "@arizeai/openinference-instrumentation-bedrock"
    named: Attributes = {KIND: "LLM"} | counts(100, 20, cache_read=30)
    unnamed: Attributes = {KIND: "LLM"} | counts(100, 20, total=150)
    assert known(span_of(scope, "bedrock.invoke_model", named)).usage == Usage(input=100, cache_read=30, output=20)
    assert known(span_of(scope, "bedrock.converse", unnamed)).usage == Usage(input=130, output=20)


def test_pipecat_s_total_has_cache_writes_without_a_name() -> None:
    claude = llm(counts(100, 20, cache_read=30, total=154) | {"llm.provider": "anthropic"}, package="pipecat")
    gpt = llm(counts(100, 20, cache_read=30, total=120) | {"llm.provider": "openai"}, package="pipecat")
    assert claude.usage == Usage(input=104, cache_read=30, output=20)
    assert gpt.usage == Usage(input=70, cache_read=30, output=20)


def test_agno_passes_on_what_anthropic_counts() -> None:
    cached = counts(100, 20, cache_read=30, total=120)
    claude = llm(cached | {"llm.provider": "Anthropic", "llm.model_name": "claude-sonnet-4-5"}, package="agno")
    gpt = llm(cached | {"llm.provider": "OpenAI", "llm.model_name": "gpt-4o"}, package="agno")
    assert claude.usage == Usage(input=100, cache_read=30, output=20)
    assert gpt.usage == Usage(input=70, cache_read=30, output=20)


def test_thoughts_that_only_the_total_has() -> None:
    gemini = llm(counts(100, 20, total=150) | {"llm.model_name": "gemini-2.5-pro"}, package="vertexai")
    other = llm(counts(100, 20, total=150) | {"llm.model_name": "gpt-4o"})
    assert gemini.usage == Usage(input=100, output=20, reasoning=30)
    assert other.usage == Usage(input=100, output=20)


def test_litellm_s_text_tokens_are_no_cached_ones() -> None:
    assert llm(counts(100, 20, cache_input=90), package="litellm").usage == Usage(input=100, output=20)


def test_both_vocabularies_on_its_own_span_are_one_call() -> None:
    both: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.response.id": "chatcmpl-xyz",
    }
    call = llm(counts(100, 20) | both)
    assert (call.dialect, call.usage, call.response_id) == (
        "openinference",
        Usage(input=100, output=20),
        "chatcmpl-xyz",
    )


def test_another_s_span_is_left_to_its_own_vocabulary() -> None:
    marked: dict[str, AttributeValue] = {
        KIND: "LLM",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
    }
    call = known(span_of("some.framework", "invoke_agent x", marked | counts(130, 20)))
    assert (call.dialect, call.role, call.usage) == ("otel-genai", Role.AGGREGATE, Usage(input=100, output=20))


@pytest.mark.parametrize(
    ("name", "parameters", "streamed"),
    [
        ("GenerateContentStream", "", True),
        ("bedrock.converse_stream", "", True),
        ("ChatCompletion", '{"stream": true}', True),
        ("ChatCompletion", '{"stream": false}', False),
        ("ChatCompletion", "{", False),
    ],
)
def test_streams_without_counts_are_told_from_other_calls(name: str, parameters: str, streamed: bool) -> None:
    call = llm({"llm.invocation_parameters": parameters}, name=name)
    assert (call.usage, call.streamed) == (None, streamed)


def test_an_answer_from_a_cache_is_no_call() -> None:
    usage = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}

    def langchain(**more: int) -> LlmCall:
        message = {"kwargs": {"content": "total_cost: 0", "usage_metadata": usage | more, "id": "lc_run--1"}}
        result = {"generations": [[{"type": "ChatGeneration", "message": message}]], "llm_output": None}
        return llm(counts(100, 20) | {"output.value": json.dumps(result)}, package="langchain", name="ChatOpenAI")

    assert langchain().role is Role.CALL
    assert langchain(total_cost=0).role is Role.IGNORED
    autogen = counts(3, 4) | {"output.value": '{"content": "x", "usage": {}, "cached": true}'}
    assert llm(autogen, package="autogen_agentchat").role is Role.IGNORED


def test_bad_counts_are_a_problem() -> None:
    assert llm({"llm.token_count.prompt": -1}).problem


def test_decisions_are_calls_where_they_are_counted() -> None:
    attributes: dict[str, AttributeValue] = {
        KIND: "DECISION",
        "decision.token_count.input": 12,
        "decision.token_count.output": 3,
    }
    call = known(span_of("openinference.instrumentation.typesafe", "decide", attributes))
    assert (call.role, call.operation, call.usage) == (Role.CALL, "decide", Usage(input=12, output=3))


def test_the_model_asked_for_is_among_the_parameters() -> None:
    """openinference-instrumentation-groq 0.1.33: all that a stream's span has of its model."""
    attributes: dict[str, AttributeValue] = {
        "openinference.span.kind": "LLM",
        "llm.invocation_parameters": '{"model": "llama-3.3-70b-versatile", "stream": true}',
    }
    call = known(span_of("openinference.instrumentation.groq", "Completions", attributes))
    assert (call.usage, call.request_model, call.provider) == (None, "llama-3.3-70b-versatile", "groq")
    assert call.streamed
