"""OpenTelemetry's own instrumentations of Amazon Bedrock's runtime: botocore (contrib), JavaScript's and genai-bedrock.

Source: opentelemetry-instrumentation-botocore 0.66b1 extensions/bedrock.py and bedrock_utils.py;
@opentelemetry/instrumentation-aws-sdk 0.78.0 build/src/services/bedrock-runtime.js;
opentelemetry-instrumentation-genai-bedrock 1.3b0 extractors.py and stream.py. They report Bedrock's counts as they
are, and Bedrock's input excludes cached tokens (Converse API, TokenUsage; Anthropic's Messages through InvokeModel).

botocore, _extract_command_attributes, _extract_command_r_attributes, _extract_mistral_attributes and the handlers of
their responses: for Cohere's and Mistral's models called by InvokeModel, the counts are a sixth of the characters of
the texts (bedrock_utils.py, estimate_token_count); so they are in JavaScript (requestPreSpanHookInvokeModel,
responseHookInvokeModel; of a stream, of its last chunk's text). Converse reports real counts for the same models.
JavaScript's streams of Claude by InvokeModel have the output that message_start announces, and no final one
(recordClaudeAttributes reads `message.usage` only).
"""

from dataclasses import replace

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.dialects.otel_genai import CALLS, COUNTS, IDENTITY_KEYS, make_call, read_counts
from spanmeter.usage.span import Span
from spanmeter.usage.values import text

NAME = "botocore"

_BOTOCORE = "opentelemetry.instrumentation.botocore"
_JAVASCRIPT = "@opentelemetry/instrumentation-aws-sdk"
_GENAI = "opentelemetry.instrumentation.genai.bedrock"
_METHOD = "rpc.method"
_STREAMS = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})
_REQUESTS = _STREAMS | {"Converse", "InvokeModel"}
_ESTIMATED_MODELS = ("cohere.command", "mistral")
_COUNTS = replace(COUNTS, total=())


def recognise(span: Span) -> LlmCall | None:
    scope = span.scope.name
    if not scope.startswith((_BOTOCORE, _JAVASCRIPT, _GENAI)):
        return None
    usage, problem = read_counts(span.attributes, _COUNTS, cache_included=False)
    if usage is None and not problem and not _is_request(span):
        return None
    return make_call(
        span,
        dialect=NAME,
        role=Role.CALL,
        usage=usage,
        problem=problem,
        provider="aws.bedrock",
        streamed=text(span.attributes, _METHOD) in _STREAMS,
        estimated=usage is not None and not scope.startswith(_GENAI) and _is_estimate(span),
    )


def _is_request(span: Span) -> bool:
    """JavaScript's InvokeModel has no operation. Other services have methods of these names, but no `gen_ai.system`."""
    attributes = span.attributes
    return text(attributes, "gen_ai.operation.name") in CALLS or (
        "gen_ai.system" in attributes and text(attributes, _METHOD) in _REQUESTS
    )


def _is_estimate(span: Span) -> bool:
    method, model = text(span.attributes, _METHOD), text(span.attributes, "gen_ai.request.model")
    if method.startswith("Converse"):
        return False
    if any(name in model for name in _ESTIMATED_MODELS):
        return True
    return span.scope.name.startswith(_JAVASCRIPT) and method in _STREAMS and "anthropic.claude" in model


DIALECT = Dialect(
    name=NAME,
    keys=IDENTITY_KEYS | _COUNTS.keys(),
    markers=("gen_ai.",),
    recognise=recognise,
    context=frozenset({_METHOD}),
)
