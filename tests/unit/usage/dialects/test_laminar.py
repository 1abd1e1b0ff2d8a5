"""Facts: lmnr 0.8.2, see the dialect's docstring."""

from spanmeter.usage.call import LlmCall, Role, Usage
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

COUNTS: dict[str, AttributeValue] = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "llm.usage.total_tokens": 120,
    "gen_ai.usage.cache_read_input_tokens": 30,
}
ASKED: dict[str, AttributeValue] = {"gen_ai.system": "gemini", "gen_ai.request.model": "m", "lmnr.span.type": "LLM"}


def laminar(attributes: Attributes) -> LlmCall:
    return known(span_of("lmnr.tracer", "openai.chat", attributes))


def test_the_type_alone_makes_a_call() -> None:
    call = laminar(ASKED | {"llm.is_streaming": True})
    assert (call.role, call.usage, call.streamed, call.provider) == (Role.CALL, None, True, "gcp.gemini")
    assert laminar(ASKED | COUNTS).usage == Usage(input=70, cache_read=30, output=20)


def test_other_types_and_operations_are_left_to_the_conventions() -> None:
    assert recognised(span_of("lmnr.tracer", "ask", {"lmnr.span.type": "DEFAULT"})) is None
    assert recognised(span_of("lmnr.tracer", "rerank", ASKED | {"gen_ai.operation.name": "rerank"})) is None
    assert laminar(COUNTS | {"lmnr.span.type": "DEFAULT"}).dialect == "otel-genai"


def test_a_replayed_answer_is_no_call() -> None:
    assert laminar(ASKED | COUNTS | {"lmnr.span.type": "CACHED"}).role is Role.IGNORED
    assert laminar(ASKED | {"lmnr.span.type": "CACHED"}).role is Role.IGNORED


def test_spans_that_laminar_only_adds_to_are_another_s() -> None:
    adk = known(span_of("gcp.vertex.agent", "generate_content m", ASKED | COUNTS, version="2.13.0"))
    assert adk.dialect == "google-adk"
