"""Facts: langfuse 5.0.4, @langfuse/openai 5."""

import json

import pytest

from spanmeter.usage.call import LlmCall, Role, Usage
from tests.unit.usage.dialects.spans import known, recognised, span_of


def generation(details: object, *, kind: str = "generation", **more: str) -> LlmCall:
    attributes = {
        "langfuse.observation.type": kind,
        "langfuse.observation.usage_details": json.dumps(details),
        "langfuse.observation.model.name": "gpt-4o",
    }
    return known(span_of("langfuse-sdk", "x", attributes | {key.replace("__", "."): v for key, v in more.items()}))


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 30}},
            Usage(input=70, cache_read=30, output=20),
        ),
        (
            {"input_tokens": 100, "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}},
            Usage(input=100, output=15, reasoning=5),
        ),
        ({"input": 100, "output": 20}, Usage(input=100, output=20)),
        ({"input": 9}, Usage(input=9)),
        (
            {"input": 70, "input_cache_read": 30, "output": 15, "output_reasoning": 5, "total": 120},
            Usage(input=70, cache_read=30, output=15, reasoning=5),
        ),
        (
            {"input": 70, "input_cached_tokens": 30, "input_audio_tokens": 0, "output": 20, "total": 120},
            Usage(input=70, cache_read=30, output=20),
        ),
        (
            {"input": 60, "input_audio": 10, "input_priority": 100, "output": 20, "total": 90},
            Usage(input=70, output=20),
        ),
        (
            {
                "input": 100,
                "output": 20,
                "cache_creation_input_tokens": 4,
                "cache_creation_ephemeral_5m_input_tokens": 4,
            },
            Usage(input=100, cache_write=4, output=20),
        ),
        (
            {"input": 100, "output": 20, "total": 120, "cache_read_input_tokens": 30},
            Usage(input=70, cache_read=30, output=20),
        ),
        ({"promptTokens": 100, "completionTokens": 20, "totalTokens": 120}, Usage(input=100, output=20)),
    ],
)
def test_ways_to_name_the_counts(details: object, expected: Usage) -> None:
    assert generation(details).usage == expected


def test_roles() -> None:
    assert generation({"input": 1}).role is Role.CALL
    assert generation({"input": 1}, kind="embedding").operation == "embeddings"
    assert generation({"input": 1}, kind="agent").role is Role.AGGREGATE
    spans = {"langfuse.observation.type": "span", "langfuse.observation.input": "x"}
    assert recognised(span_of("langfuse-sdk", "x", spans)) is None


def test_a_generation_without_counts_is_a_call() -> None:
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.completion_start_time": '"2026"'}
    call = known(span_of("langfuse-sdk", "x", attributes))
    assert (call.usage, call.streamed) == (None, True)


def test_an_answer_from_langchain_s_cache() -> None:
    assert generation({"input": 100, "output": 20, "total": 120, "total_cost": 0}).role is Role.IGNORED


def test_bad_counts_are_a_problem() -> None:
    assert generation({"input": -1, "output": 2}).problem


def test_the_provider_is_langchain_s() -> None:
    assert generation({"input": 1}).provider == ""
    given = {"langfuse.observation.metadata.ls_provider": '"google_genai"'}
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": '{"input": 1}'}
    assert known(span_of("langfuse-sdk", "x", attributes | given)).provider == "gcp.gemini"
