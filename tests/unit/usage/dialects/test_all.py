"""What every dialect must do, whatever is sent: answer, and tell the decoders what it reads."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.usage.call import LlmCall, Role
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.span import Attributes, AttributeValue
from tests.unit.usage.dialects.spans import span_of

SCOPES = (
    "",
    "@opentelemetry/instrumentation-aws-sdk",
    "agent_framework",
    "com.anthropic.sdk.python",
    "gcp.vertex.agent",
    "gemini-cli",
    "kong-internal",
    "langsmith",
    "litellm",
    "logfire.anthropic",
    "logfire.claude_agent_sdk",
    "logfire.openai",
    "mistralai_sdk_tracer",
    "openinference.instrumentation.openai",
    "openlit.instrumentation.openai",
    "openlit.otel.tracing",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.botocore.bedrock-runtime",
    "opentelemetry.instrumentation.google_generativeai",
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.openai.v1",
    "opentelemetry.util.genai.handler",
    "org.springframework.boot",
    "pipecat",
    "pydantic-ai",
    "semantic_kernel.utils.telemetry",
    "strands.telemetry.tracer",
    "traceai_bedrock",
    "traceai_langchain",
    "vllm.llm_engine",
)
NAMES = (
    "",
    "chat",
    "call_llm",
    "generate_content x",
    "invoke_agent x",
    "Model invoke",
    "agent run",
    "litellm_request",
    "claude_code.llm_request",
    "handle_responses",
    "llm_request",
)
WORDS = (
    "chat",
    "embeddings",
    "invoke_agent",
    "LLM",
    "llm",
    "log",
    "pending_span",
    "generation",
    "none",
    "{}",
    "[]",
    "1e400",
)

scalars: st.SearchStrategy[AttributeValue] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.integers(min_value=0, max_value=9000),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(WORDS),
    st.binary(max_size=8),
    st.sampled_from(
        (
            '{"usage":{"input_tokens":1,"output_tokens":null}}',
            '{"usage_metadata":{"prompt_token_count":"x"}}',
            "{'input_tokens': 3, 'output_tokens': -1}",
            '{"input": [1], "output": {"a": 1e99}}',
            "[" * 5000,
            '{"a":' * 5000,
        )
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def by_name(dialect: Dialect) -> str:
    return dialect.name


def test_every_key_is_found_by_a_marker() -> None:
    markers = [marker for dialect in DIALECTS for marker in dialect.markers]
    for dialect in DIALECTS:
        assert [key for key in sorted(dialect.keys) if not any(marker in key for marker in markers)] == []
        assert not dialect.keys & dialect.context


def test_names_differ() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS, ids=by_name)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_anything_is_answered(dialect: Dialect, data: Any) -> None:
    keys = st.sampled_from(sorted(dialect.keys | dialect.context))
    attributes: Attributes = data.draw(st.dictionaries(keys, values, max_size=12))
    found = span_of(
        data.draw(st.sampled_from(SCOPES)),
        data.draw(st.sampled_from(NAMES)),
        attributes,
        version=data.draw(st.sampled_from(("", "0.4.0", "1.20.0", "2.x", "9" * 5000))),
        is_error=data.draw(st.booleans()),
    )
    call = dialect.recognise(found)
    assert call is None or is_sound(call)


def is_sound(call: LlmCall) -> bool:
    usage = call.usage
    counts = (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) if usage else ()
    assert all(type(count) is int and count >= 0 for count in counts)
    assert call.looks_back_ns >= 0
    assert not (call.problem and usage)
    assert call.role is Role.CALL or call.reason or call.problem
    return True
