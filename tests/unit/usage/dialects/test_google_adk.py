"""Facts: google-adk 0.5.0 to 2.13.0, see the dialect's docstring."""

import json
from dataclasses import replace

import pytest

from spanmeter.usage.call import Role, Usage
from spanmeter.usage.span import AttributeValue
from tests.unit.usage.dialects.spans import known, recognised, span_of

SCOPE = "gcp.vertex.agent"
COUNTS: dict[str, AttributeValue] = {
    "gen_ai.request.model": "gemini-2.5-flash",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 60,
}
THOUGHT: dict[str, AttributeValue] = {"gen_ai.usage.reasoning.output_tokens": 40}


def reply(**usage: int) -> dict[str, str]:
    return {"gcp.vertex.agent.llm_response": json.dumps({"content": {"parts": []}, "usage_metadata": usage})}


def test_since_2_3_thoughts_are_in_the_output() -> None:
    attributes = COUNTS | THOUGHT | {"gen_ai.provider.name": "gcp.gemini", "gen_ai.operation.name": "generate_content"}
    call = known(span_of(SCOPE, "generate_content gemini-2.5-flash", attributes, version="2.13.0"))
    assert (call.role, call.estimated, call.provider) == (Role.CALL, False, "gcp.gemini")
    assert call.usage == Usage(input=100, output=20, reasoning=40)


def test_litellm_s_reasoning_comes_twice() -> None:
    attributes = COUNTS | THOUGHT | {"gen_ai.request.model": "openai/o4-mini", "gen_ai.system": "openai"}
    attributes["gen_ai.usage.output_tokens"] = 100  # a completion of 60, of which 40 are reasoning, and 40 again
    call = known(span_of(SCOPE, "generate_content openai/o4-mini", attributes, version="2.13.0"))
    assert call.usage == Usage(input=100, output=20, reasoning=40)
    path = (
        COUNTS | THOUGHT | {"gen_ai.request.model": "projects/p/locations/l/publishers/google/models/gemini-2.5-flash"}
    )
    assert known(span_of(SCOPE, "generate_content", path, version="2.13.0")).usage == Usage(
        input=100, output=20, reasoning=40
    )


def test_a_call_s_reply_knows_best() -> None:
    metadata = reply(
        prompt_token_count=100,
        tool_use_prompt_token_count=7,
        cached_content_token_count=30,
        candidates_token_count=60,
        thoughts_token_count=40,
        total_token_count=207,
    )
    for version in ("", "1.20.0", "2.2.0"):
        call = known(span_of(SCOPE, "call_llm", COUNTS | metadata | {"gen_ai.system": SCOPE}, version=version))
        assert call.usage == Usage(input=77, cache_read=30, output=60, reasoning=40)
        assert (call.role, call.estimated, call.provider) == (Role.CALL, False, "gcp.gen_ai")


def test_litellm_s_reply_has_reasoning_among_the_candidates() -> None:
    metadata = reply(prompt_token_count=100, candidates_token_count=60, thoughts_token_count=40, total_token_count=160)
    call = known(span_of(SCOPE, "call_llm", COUNTS | metadata, version="2.2.0"))
    assert call.usage == Usage(input=100, output=20, reasoning=40)


def test_1_5_to_1_8_have_the_total_for_output() -> None:
    attributes = (
        COUNTS
        | {"gen_ai.usage.output_tokens": 160}
        | reply(prompt_token_count=100, candidates_token_count=60, total_token_count=160)
    )
    assert known(span_of(SCOPE, "call_llm", attributes)).usage == Usage(input=100, output=60)


def test_what_may_be_the_total_is_an_estimate() -> None:
    may_be = known(span_of(SCOPE, "call_llm", COUNTS | {"gen_ai.usage.output_tokens": 160}))
    cannot = known(span_of(SCOPE, "call_llm", COUNTS))
    told = known(span_of(SCOPE, "call_llm", COUNTS | {"gen_ai.usage.output_tokens": 160}, version="1.20.0"))
    assert (may_be.estimated, cannot.estimated, told.estimated) == (True, False, False)


def test_before_2_3_the_inner_span_does_not_know_of_thoughts() -> None:
    inner = known(span_of(SCOPE, "generate_content gemini-2.5-flash", COUNTS, version="2.0.0"))
    outer = known(
        span_of(SCOPE, "call_llm", COUNTS | {"gen_ai.usage.experimental.reasoning_tokens": 40}, version="2.0.0")
    )
    assert (inner.estimated, outer.estimated) == (True, False)
    assert outer.usage == Usage(input=100, output=60, reasoning=40)


JAVASCRIPT_REPLY = {
    "content": {"parts": []},
    "usageMetadata": {
        "promptTokenCount": 100,
        "candidatesTokenCount": 60,
        "thoughtsTokenCount": 40,
        "cachedContentTokenCount": 30,
        "totalTokenCount": 200,
    },
}


@pytest.mark.parametrize("version", ["", "1.2.0", "2.0.0", "2.9.0"])
def test_javascript_s_versions_are_its_own_and_only_the_reply_has_thoughts(version: str) -> None:
    attributes = COUNTS | {"gcp.vertex.agent.llm_response": json.dumps(JAVASCRIPT_REPLY)}
    found = replace(
        span_of(SCOPE, "call_llm", attributes, version=version), resource={"telemetry.sdk.language": "nodejs"}
    )
    call = known(found)
    assert (call.usage, call.estimated) == (Usage(input=70, cache_read=30, output=60, reasoning=40), False)
    untold = known(replace(found, attributes=COUNTS | {"gcp.vertex.agent.llm_response": "{}"}))
    assert (untold.usage, untold.estimated) == (Usage(input=100, output=60), True)
    assert (
        recognised(replace(found, attributes={"gen_ai.operation.name": "invoke_agent"}, name="invoke_agent a")) is None
    )


def test_an_agent_s_span_has_the_last_call_s_usage_at_most() -> None:
    overwritten = COUNTS | {"gen_ai.operation.name": "generate_content", "openinference.span.kind": "LLM"}
    call = known(span_of(SCOPE, "invoke_agent weather", overwritten, version="2.13.0"))
    assert (call.role, call.sole_source) == (Role.AGGREGATE, True)
    plain = {"gen_ai.operation.name": "invoke_agent"}
    assert recognised(span_of(SCOPE, "invoke_agent weather", plain, version="2.13.0")) is None
    assert recognised(span_of(SCOPE, "execute_tool weather", {"gen_ai.operation.name": "execute_tool"})) is None
