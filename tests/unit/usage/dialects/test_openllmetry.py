"""Facts: opentelemetry-instrumentation-* 0.15.0 to 0.62.4 and @traceloop/instrumentation-* 0.27.0, see the dialect."""

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue, Span
from tests.spans import NOW_NS
from tests.unit.usage.dialects.spans import known, recognised, span_of

PYTHON = "opentelemetry.instrumentation."
JAVASCRIPT = "@traceloop/instrumentation-"
CHAT: dict[str, AttributeValue] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-x",
}
COUNTS: dict[str, AttributeValue] = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
CACHE: dict[str, AttributeValue] = {
    "gen_ai.usage.cache_read.input_tokens": 30,
    "gen_ai.usage.cache_creation.input_tokens": 10,
}
TOTAL: dict[str, AttributeValue] = {"gen_ai.usage.total_tokens": 120}
MODEL: dict[str, AttributeValue] = {"gen_ai.response.model": "claude-x-1"}


def test_anthropic_s_input_includes_cache_and_bedrock_s_and_javascript_s_do_not() -> None:
    attributes = CHAT | MODEL | COUNTS | TOTAL | CACHE
    inside = Usage(input=60, cache_read=30, cache_write=10, output=20)
    outside = Usage(input=100, cache_read=30, cache_write=10, output=20)
    assert known(span_of(PYTHON + "anthropic", "anthropic.chat", attributes)).usage == inside
    assert known(span_of(PYTHON + "bedrock", "chat x", attributes)).usage == outside
    assert known(span_of(JAVASCRIPT + "anthropic", "chat x", attributes)).usage == outside


@pytest.mark.parametrize("mark", ["gen_ai.is_streaming", "llm.is_streaming"])
def test_a_stream_of_anthropic_s_counts_its_first_output_twice(mark: str) -> None:
    call = known(span_of(PYTHON + "anthropic", "anthropic.chat", CHAT | {mark: True} | MODEL | COUNTS))
    assert (call.streamed, call.estimated) == (True, True)


def test_the_sdk_s_stream_helper_is_told_by_the_model_written_last() -> None:
    whole = known(span_of(PYTHON + "anthropic", "anthropic.chat", CHAT | MODEL | COUNTS | TOTAL))
    stream = known(span_of(PYTHON + "anthropic", "anthropic.chat", CHAT | COUNTS | TOTAL | MODEL))
    without_model = known(span_of(PYTHON + "anthropic", "anthropic.chat", CHAT | COUNTS | TOTAL))
    assert (whole.streamed, whole.estimated) == (False, False)
    assert (stream.streamed, stream.estimated) == (True, True)
    assert not without_model.estimated


def test_a_stream_without_counts_is_no_estimate() -> None:
    call = known(span_of(PYTHON + "anthropic", "anthropic.chat", CHAT | {"gen_ai.is_streaming": True}))
    assert (call.role, call.usage, call.streamed, call.estimated) == (Role.CALL, None, True, False)


def test_what_gemini_s_total_has_beyond_are_thoughts() -> None:
    for package in ("google_generativeai", "vertexai"):
        call = known(span_of(PYTHON + package, "generate_content g", COUNTS | {"llm.usage.total_tokens": 170}))
        assert call.usage == Usage(input=100, output=20, reasoning=50)
    bad = known(span_of(PYTHON + "vertexai", "generate_content g", COUNTS | {"llm.usage.total_tokens": "many"}))
    assert (bad.usage, bad.problem) == (None, "llm.usage.total_tokens is text, not a number")


def test_of_a_llama_stream_on_bedrock_only_the_first_chunk_is_counted() -> None:
    attributes = CHAT | COUNTS | {"gen_ai.request.model": "llama3-70b-instruct-v1:0"}
    whole = attributes | {"gen_ai.response.finish_reasons": ["stop"]}
    assert known(span_of(PYTHON + "bedrock", "text_completion l", attributes)).estimated
    assert not known(span_of(PYTHON + "bedrock", "text_completion l", whole)).estimated
    assert not known(span_of(PYTHON + "bedrock", "chat n", attributes | {"gen_ai.request.model": "nova"})).estimated


def test_old_streams_of_openai_are_counted_by_tiktoken() -> None:
    attributes = COUNTS | {"llm.request.type": "chat", "gen_ai.system": "OpenAI", "llm.is_streaming": True}
    assert known(span_of(PYTHON + "openai.v1", "openai.chat", attributes, version="0.43.1")).estimated
    assert not known(span_of(PYTHON + "openai.v1", "openai.chat", attributes, version="0.44.0")).estimated
    new = known(span_of(PYTHON + "openai.v1", "openai.chat", attributes, version="0.62.4"))
    assert (new.estimated, new.provider, new.operation) == (False, "openai", "chat")


def test_the_oldest_names() -> None:
    call = known(
        span_of(
            PYTHON + "openai.v0",
            "openai.completion",
            {
                "llm.request.type": "completion",
                "llm.vendor": "OpenAI",
                "llm.request.model": "davinci",
                "llm.usage.prompt_tokens": 7,
                "llm.usage.completion_tokens": 3,
                "llm.usage.total_tokens": 10,
            },
        )
    )
    assert call.usage == Usage(input=7, output=3)
    assert (call.operation, call.provider, call.request_model) == ("text_completion", "openai", "davinci")


def test_floats_of_cohere_s_billed_units() -> None:
    attributes: dict[str, AttributeValue] = {
        "llm.request.type": "chat",
        "gen_ai.system": "Cohere",
        "gen_ai.usage.prompt_tokens": 11.0,
        "gen_ai.usage.completion_tokens": 4.0,
    }
    call = known(span_of(PYTHON + "cohere", "cohere.chat", attributes))
    assert (call.usage, call.provider) == (Usage(input=11, output=4), "cohere")


@pytest.mark.parametrize("kind", ["workflow", "task", "agent"])
def test_spans_of_a_kind_are_sums(kind: str) -> None:
    crew = known(span_of(PYTHON + "crewai.instrumentation", "writer.agent", COUNTS | {"traceloop.span.kind": kind}))
    agno = known(span_of(PYTHON + "agno", "a.agent", COUNTS | {"traceloop.span.kind": kind, "gen_ai.system": "agno"}))
    assert (crew.role, crew.sole_source) == (Role.AGGREGATE, False)
    assert (agno.role, agno.sole_source, agno.provider) == (Role.AGGREGATE, True, "")


def test_workflows_tools_and_model_loading_are_no_llm_spans() -> None:
    assert recognised(span_of("traceloop.tracer", "chat.workflow", {"traceloop.span.kind": "workflow"})) is None
    assert (
        recognised(span_of(PYTHON + "langchain", "execute_tool x", {"gen_ai.operation.name": "execute_tool"})) is None
    )
    loading: dict[str, AttributeValue] = {"llm.request.type": "completion", "gen_ai.system": "Watsonx"}
    assert recognised(span_of(PYTHON + "watsonx", "watsonx.model_init", loading)) is None
    assert known(span_of(PYTHON + "watsonx", "watsonx.generate", loading)).usage is None
    tool = known(span_of(PYTHON + "openai_agents", "t.tool", COUNTS | {"traceloop.span.kind": "tool"}))
    assert tool.role is Role.IGNORED


def test_llama_index_calls_its_models_tasks() -> None:
    call = known(span_of(PYTHON + "llamaindex", "OpenAI.task", CHAT | COUNTS | {"traceloop.span.kind": "task"}))
    assert call.role is Role.CALL
    assert recognised(span_of(PYTHON + "llamaindex", "Retriever.task", {"traceloop.span.kind": "task"})) is None


def langchain(lasting_ns: int, **further: AttributeValue) -> Span:
    made = span_of(PYTHON + "langchain", "ChatOpenAI.chat", CHAT | COUNTS | further)
    return Span(
        trace_id=made.trace_id,
        span_id=made.span_id,
        name=made.name,
        start_ns=NOW_NS,
        end_ns=NOW_NS + lasting_ns,
        attributes=made.attributes,
        scope=made.scope,
    )


def test_langchain_s_cache_answers_at_once_and_without_an_id() -> None:
    cached = known(langchain(300_000))
    assert (cached.role, bool(cached.reason)) == (Role.IGNORED, True)
    assert known(langchain(300_000_000)).role is Role.CALL
    assert known(langchain(300_000, **{"gen_ai.response.id": "chatcmpl-1"})).role is Role.CALL
