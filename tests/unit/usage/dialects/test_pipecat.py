"""Facts: pipecat-ai 0.0.80 and 1.14.0, see the dialect's docstring."""

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read.input_tokens": 30,
}


def test_anthropic_and_bedrock_leave_the_cache_out() -> None:
    for provider, expected in {"anthropic": 100, "aws.bedrock": 100, "openai": 70}.items():
        call = known(span_of("pipecat", "llm", CHAT | {"gen_ai.provider.name": provider}))
        assert (call.role, call.usage) == (Role.CALL, Usage(input=expected, cache_read=30, output=50))


def test_speech_is_no_llm_call() -> None:
    assert recognised(span_of("pipecat", "tts", {"gen_ai.operation.name": "tts", "gen_ai.request.model": "v"})) is None
