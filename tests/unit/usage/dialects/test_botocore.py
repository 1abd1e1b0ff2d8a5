"""Facts: opentelemetry-instrumentation-botocore 0.66b1, @opentelemetry/instrumentation-aws-sdk 0.78.0 and
opentelemetry-instrumentation-genai-bedrock 1.3b0, see the dialect's docstring."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SCOPE = "opentelemetry.instrumentation.botocore.bedrock-runtime"
JAVASCRIPT = "@opentelemetry/instrumentation-aws-sdk"
GENAI = "opentelemetry.instrumentation.genai.bedrock"
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "aws.bedrock",
    "gen_ai.request.model": "anthropic.claude-x",
    "rpc.method": "Converse",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}


@pytest.mark.parametrize("scope", [SCOPE, JAVASCRIPT, GENAI])
def test_the_input_excludes_cache(scope: str) -> None:
    call = known(span_of(scope, "chat m", CHAT | {"gen_ai.usage.cache_read.input_tokens": 40}))
    assert call.usage == Usage(input=100, cache_read=40, output=20)
    assert (call.provider, call.estimated) == ("aws.bedrock", False)


@pytest.mark.parametrize("model", ["cohere.command-r-v1:0", "us.mistral.mistral-large-2402-v1:0"])
def test_text_lengths_stand_for_counts_of_cohere_and_mistral_by_invoke_model(model: str) -> None:
    by_model = CHAT | {"gen_ai.request.model": model}
    for scope, guesses in ((SCOPE, True), (JAVASCRIPT, True), (GENAI, False)):
        assert known(span_of(scope, "chat m", by_model | {"rpc.method": "InvokeModel"})).estimated is guesses
        assert not known(span_of(scope, "chat m", by_model)).estimated


def test_javascript_s_streams_of_claude_by_invoke_model_lack_the_final_output() -> None:
    stream = CHAT | {
        "gen_ai.request.model": "us.anthropic.claude-x",
        "rpc.method": "InvokeModelWithResponseStream",
    }
    assert known(span_of(JAVASCRIPT, "x", stream)).estimated
    assert not known(span_of(SCOPE, "x", stream)).estimated
    assert not known(span_of(JAVASCRIPT, "x", stream | {"rpc.method": "InvokeModel"})).estimated
    assert not known(span_of(JAVASCRIPT, "x", stream | {"gen_ai.request.model": "amazon.nova-x"})).estimated


def test_javascript_s_invoke_model_is_a_call_without_counts_or_an_operation() -> None:
    attributes: dict[str, AttributeValue] = {"rpc.method": "InvokeModel", "gen_ai.system": "aws.bedrock"}
    call = known(span_of(JAVASCRIPT, "BedrockRuntime.InvokeModel", attributes))
    assert (call.role, call.usage, call.provider) == (Role.CALL, None, "aws.bedrock")
    assert recognised(span_of(JAVASCRIPT, "x", {"rpc.method": "InvokeModel"})) is None


def test_streams_are_known_by_their_method_and_other_calls_to_aws_are_none() -> None:
    stream = CHAT | {"rpc.method": "ConverseStream"}
    assert known(span_of(SCOPE, "chat m", stream)).streamed
    assert recognised(span_of(SCOPE, "Bedrock Runtime.ApplyGuardrail", {"rpc.method": "ApplyGuardrail"})) is None
    assert recognised(span_of(JAVASCRIPT, "S3.GetObject", {"rpc.method": "GetObject"})) is None
