"""Facts: openlit 1.20.0 to 1.45.0, see the dialect's docstring."""

from dataclasses import replace

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SCOPE = "openlit.instrumentation."
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.stream": True,
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.client.token.usage": 120,
}
CACHE: dict[str, AttributeValue] = {
    "gen_ai.usage.cache_read.input_tokens": 30,
    "gen_ai.usage.cache_creation.input_tokens": 10,
}


def test_a_stream_without_cache_counts_had_no_usage() -> None:
    guessed = known(span_of(SCOPE + "openai", "chat m", CHAT))
    told = known(span_of(SCOPE + "openai", "chat m", CHAT | {"gen_ai.usage.cache_read.input_tokens": 0}))
    whole = known(span_of(SCOPE + "openai", "chat m", CHAT | {"gen_ai.request.stream": False}))
    old = known(span_of("openlit.otel.tracing", "chat m", CHAT | {"gen_ai.request.is_stream": True}))
    assert (guessed.estimated, told.estimated, whole.estimated, old.estimated) == (True, False, False, True)


@pytest.mark.parametrize("integration", ["gpt4all", "transformers", "vllm"])
def test_local_models_are_always_estimated(integration: str) -> None:
    assert known(span_of(SCOPE + integration, "chat m", CHAT | CACHE)).estimated


def test_some_embeddings_are_estimated() -> None:
    attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 9}
    assert known(span_of(SCOPE + "ollama", "embeddings m", attributes)).estimated
    assert not known(span_of(SCOPE + "openai", "embeddings m", attributes)).estimated


def test_anthropic_and_bedrock_exclude_cache_and_langchain_does_not() -> None:
    outside = Usage(input=100, cache_read=30, cache_write=10, output=20)
    inside = Usage(input=60, cache_read=30, cache_write=10, output=20)
    by_anthropic = CHAT | CACHE | {"gen_ai.provider.name": "anthropic"}
    assert known(span_of(SCOPE + "anthropic", "chat m", by_anthropic)).usage == outside
    assert known(span_of(SCOPE + "bedrock", "chat m", CHAT | CACHE)).usage == outside
    assert known(span_of("openlit.otel.tracing", "chat m", by_anthropic)).usage == outside
    assert known(span_of(SCOPE + "langchain", "chat m", by_anthropic)).usage == inside


def test_gemini_s_thoughts_are_apart() -> None:
    thoughts = CHAT | {"gen_ai.usage.reasoning_tokens": 15}
    assert known(span_of(SCOPE + "google_ai_studio", "chat m", thoughts)).usage == Usage(
        input=100, output=20, reasoning=15
    )
    assert known(span_of(SCOPE + "openai", "chat m", thoughts)).usage == Usage(input=100, output=5, reasoning=15)


@pytest.mark.parametrize(("integration", "sole"), [("agno", True), ("crewai", False), ("langgraph", False)])
def test_agents_repeat_counts(integration: str, *, sole: bool) -> None:
    call = known(span_of(SCOPE + integration, "invoke_agent a", CHAT | {"gen_ai.operation.name": "invoke_agent"}))
    assert (call.role, call.sole_source, call.estimated) == (Role.AGGREGATE, sole, False)


def test_what_has_no_counts_is_no_llm_span_but_a_failed_call() -> None:
    assert recognised(span_of(SCOPE + "chroma", "query", {"gen_ai.operation.name": "vectordb"})) is None
    failed = known(span_of(SCOPE + "openai", "chat m", {"gen_ai.operation.name": "chat"}, is_error=True))
    assert (failed.role, failed.usage, failed.is_error) == (Role.CALL, None, True)


def test_embeddings_had_an_operation_of_another_name() -> None:
    """openlit 1.33.0 semcov/__init__.py, GEN_AI_TYPE_EMBEDDING."""
    attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": "embedding", "gen_ai.usage.input_tokens": 9}
    call = known(span_of("openlit.otel.tracing", "openai.embeddings", attributes))
    assert (call.role, call.operation, call.usage) == (Role.CALL, "embeddings", Usage(input=9))


@pytest.mark.parametrize(("system", "output"), [("gemini", 50), ("google", 30)])
def test_gemini_s_thoughts_under_the_shared_scope(system: str, output: int) -> None:
    """openlit 1.34.43: google_ai_studio/utils.py has them apart, langchain/callback_handler.py within the output."""
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": system,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.reasoning_tokens": 20,
    }
    call = known(span_of("openlit.otel.tracing", "chat gemini", attributes))
    assert call.usage == Usage(input=100, output=output, reasoning=20)


def test_an_answer_from_langchain_s_cache_is_told_by_its_time() -> None:
    span = span_of(SCOPE + "langchain", "chat m", CHAT)
    fast = replace(span, end_ns=span.start_ns + 500_000)
    assert known(fast).role is Role.IGNORED
    assert known(replace(span, end_ns=span.start_ns + 20_000_000)).role is Role.CALL
    named = replace(fast, attributes=CHAT | {"gen_ai.response.id": "chatcmpl-own"})
    assert known(named).role is Role.CALL


def test_the_javascript_one_reads_the_same() -> None:
    """openlit 1.15.0 for JavaScript, whose vllm integration is what patches the OpenAI SDK last."""
    scope = "@openlit/instrumentation-"
    claude = known(span_of(scope + "anthropic", "chat m", CHAT | CACHE | {"gen_ai.provider.name": "anthropic"}))
    assert claude.usage == Usage(input=100, cache_read=30, cache_write=10, output=20)
    gemini = known(span_of(scope + "google-ai", "chat m", CHAT | {"gen_ai.usage.reasoning_tokens": 7}))
    assert gemini.usage == Usage(input=100, output=20, reasoning=7)
    guessed = known(span_of(scope + "vllm", "chat m", CHAT | {"gen_ai.request.is_stream": True}))
    told = known(span_of(scope + "vllm", "chat m", CHAT | {"gen_ai.usage.cache_read.input_tokens": 30}))
    responses = known(span_of(scope + "openai", "chat m", CHAT | {"openai.api.type": "responses"}))
    whole = known(span_of(scope + "openai", "chat m", CHAT | {"gen_ai.request.stream": False}))
    assert [call.estimated for call in (guessed, told, responses, whole)] == [True, False, False, False]
