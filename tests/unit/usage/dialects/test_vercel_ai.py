"""Facts: ai 4.3.19, 5.0.277, 6.0.326 and the provider packages named in the dialect's docstring."""

import json

import pytest

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of


def call_of(operation: str, provider: str, attributes: Attributes, metadata: object = None) -> LlmCall:
    given = {"ai.operationId": operation, "ai.model.provider": provider, "ai.model.id": "m"} | dict(attributes)
    if metadata is not None:
        given["ai.response.providerMetadata"] = json.dumps(metadata)
    return known(span_of("ai", operation, given))


GENERATE, STREAM = "ai.generateText.doGenerate", "ai.streamText.doStream"
V5_GENERATE: dict[str, AttributeValue] = {
    "ai.usage.promptTokens": 100,
    "ai.usage.completionTokens": 20,
    "gen_ai.usage.input_tokens": 100,
}
V5_STREAM: dict[str, AttributeValue] = {
    "ai.usage.inputTokens": 100,
    "ai.usage.outputTokens": 20,
    "ai.usage.totalTokens": 120,
}
RAW = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 4}


def test_a_call_and_what_is_around_it() -> None:
    call = call_of(STREAM, "openai.chat", V5_STREAM | {"ai.usage.cachedInputTokens": 30, "gen_ai.response.id": "r"})
    assert (call.role, call.usage, call.streamed) == (Role.CALL, Usage(input=70, cache_read=30, output=20), True)
    assert (call.provider, call.request_model, call.response_id) == ("openai", "m", "r")
    outer = call_of("ai.streamText", "openai.chat", V5_STREAM)
    assert (outer.role, outer.sole_source) == (Role.AGGREGATE, False)
    assert recognised(span_of("ai", "ai.toolCall", {"ai.operationId": "ai.toolCall"})) is None
    assert call_of(STREAM, "openai.chat", {}).usage is None


def test_version_5_leaves_anthropic_s_cache_out_of_input_and_total() -> None:
    metadata = {"anthropic": {"usage": RAW, "cacheCreationInputTokens": 4}}
    expected = Usage(input=100, cache_read=30, cache_write=4, output=20)
    assert call_of(GENERATE, "anthropic.messages", V5_GENERATE, metadata).usage == expected
    streamed = V5_STREAM | {"ai.usage.cachedInputTokens": 30}
    assert call_of(STREAM, "anthropic.messages", streamed, metadata).usage == expected
    assert call_of("ai.generateObject.doGenerate", "anthropic.messages", V5_GENERATE, metadata).usage == expected


def test_version_4_has_the_cache_in_the_metadata_only() -> None:
    metadata = {"anthropic": {"cacheCreationInputTokens": 4, "cacheReadInputTokens": 30}}
    usage = call_of(GENERATE, "anthropic.messages", V5_GENERATE, metadata).usage
    assert usage == Usage(input=100, cache_read=30, cache_write=4, output=20)
    bedrock = {"bedrock": {"usage": {"cacheReadInputTokens": 30, "cacheWriteInputTokens": None}}}
    assert call_of(GENERATE, "amazon-bedrock", V5_GENERATE, bedrock).usage == Usage(input=100, cache_read=30, output=20)


def test_version_6_includes_the_cache() -> None:
    details: dict[str, AttributeValue] = {
        "ai.usage.inputTokens": 134,
        "ai.usage.inputTokenDetails.noCacheTokens": 100,
        "ai.usage.inputTokenDetails.cacheReadTokens": 30,
        "ai.usage.inputTokenDetails.cacheWriteTokens": 4,
        "ai.usage.outputTokens": 20,
        "ai.usage.outputTokenDetails.reasoningTokens": 5,
        "ai.usage.totalTokens": 154,
    }
    expected = Usage(input=100, cache_read=30, cache_write=4, output=15, reasoning=5)
    assert call_of(GENERATE, "anthropic.messages", details, {"anthropic": {"usage": RAW}}).usage == expected
    objects = {"ai.usage.promptTokens": 134, "ai.usage.completionTokens": 20}
    usage = call_of("ai.generateObject.doGenerate", "anthropic.messages", objects, {"anthropic": {"usage": RAW}}).usage
    assert usage == Usage(input=100, cache_read=30, cache_write=4, output=20)


def test_version_4_leaves_the_cache_out_of_objects_too() -> None:
    """ai 4.3.19 with @ai-sdk/anthropic 1.2.12, whose metadata has no usage object; only its objects have a mode."""
    attributes: dict[str, AttributeValue] = {"ai.usage.promptTokens": 100, "ai.usage.completionTokens": 20}
    metadata = {"anthropic": {"cacheCreationInputTokens": 4, "cacheReadInputTokens": 30}}
    call = call_of(
        "ai.generateObject.doGenerate", "anthropic.messages", attributes | {"ai.settings.mode": "tool"}, metadata
    )
    assert call.usage == Usage(input=100, cache_read=30, cache_write=4, output=20)


def test_gemini_s_thoughts() -> None:
    streamed = V5_STREAM | {"ai.usage.reasoningTokens": 30, "ai.usage.totalTokens": 150}
    assert call_of(STREAM, "google.generative-ai", streamed).usage == Usage(input=100, output=20, reasoning=30)
    metadata = {"google": {"usageMetadata": {"candidatesTokenCount": 20, "thoughtsTokenCount": 30}}}
    generated = call_of(GENERATE, "google.generative-ai", V5_GENERATE, metadata).usage
    assert generated == Usage(input=100, output=20, reasoning=30)
    included = V5_GENERATE | {"ai.usage.completionTokens": 50}
    assert call_of(GENERATE, "google.generative-ai", included, metadata).usage == generated


def test_embeddings() -> None:
    call = call_of("ai.embedMany.doEmbed", "openai.embedding", {"ai.usage.tokens": 9})
    assert (call.role, call.operation, call.usage) == (Role.CALL, "embeddings", Usage(input=9))
    assert call_of("ai.embedMany", "openai.embedding", {"ai.usage.tokens": 9}).role is Role.AGGREGATE


def test_not_a_number_is_unknown() -> None:
    unknown = {"ai.usage.promptTokens": float("nan"), "ai.usage.completionTokens": float("nan")}
    call = call_of(STREAM, "openai.chat", unknown)
    assert (call.usage, call.problem) == (None, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("google.generative-ai", "gcp.gemini"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("vertex.anthropic.messages", "gcp.vertex_ai"),
        ("amazon-bedrock", "aws.bedrock"),
        ("azure.chat", "azure.ai.openai"),
        ("mistral.chat", "mistral_ai"),
        ("groq.chat", "groq"),
        ("gateway", ""),
    ],
)
def test_providers(name: str, expected: str) -> None:
    assert call_of(GENERATE, name, V5_GENERATE).provider == expected


def test_openinference_s_processor_changes_nothing() -> None:
    added: dict[str, AttributeValue] = {
        "openinference.span.kind": "LLM",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
    }
    assert call_of(GENERATE, "openai.chat", V5_GENERATE | added).dialect == "vercel-ai"
    agent: dict[str, AttributeValue] = {"openinference.span.kind": "AGENT"} | V5_STREAM
    assert call_of("ai.streamText", "openai.chat", agent).role is Role.AGGREGATE
