"""The stand-in's answers are valid in the eyes of OpenAI's own types, and their numbers tell calls apart."""

import json
import re
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from spanmeter.demo.answers import (
    Api,
    Question,
    chat_answer,
    chat_stream,
    embeddings_answer,
    responses_answer,
    responses_stream,
)

TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
CHAT_TOOL = {"type": "function", "function": TOOL}
RESPONSES_TOOL = {"type": "function", **TOOL}
ASKED = [{"role": "user", "content": "?"}]
TOLD = [*ASKED, {"role": "assistant", "content": None}, {"role": "tool", "content": "1", "tool_call_id": "x"}]


def question(api: Api = "chat", *, number: int = 0, seed: int = 0, **body: Any) -> Question:
    return Question(api=api, body={"model": "gpt-4o-mini", **body}, number=number, seed=seed, created_s=1_700_000_000)


@pytest.mark.parametrize("body", [{"messages": ASKED}, {"messages": ASKED, "tools": [CHAT_TOOL]}, {"n": 3}])
def test_chat_answers_are_valid(body: dict[str, Any]) -> None:
    answer = ChatCompletion.model_validate(chat_answer(question(**body)), strict=True)
    assert re.fullmatch(r"chatcmpl-[A-Za-z0-9]{29}", answer.id)
    assert answer.model == "gpt-4o-mini-2024-07-18"
    assert len(answer.choices) == body.get("n", 1)


def test_a_tool_is_called_once_then_a_text_answers() -> None:
    first = ChatCompletion.model_validate(chat_answer(question(messages=ASKED, tools=[CHAT_TOOL]))).choices[0]
    calls = first.message.tool_calls
    assert first.finish_reason == "tool_calls"
    assert calls is not None
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"n": 1}
    then = ChatCompletion.model_validate(chat_answer(question(messages=TOLD, tools=[CHAT_TOOL]))).choices[0]
    assert then.finish_reason == "stop"
    assert "no model was asked" in (then.message.content or "")


@pytest.mark.parametrize("tools", [[], [CHAT_TOOL]])
def test_streamed_chat_is_valid_and_reports_usage_only_when_asked(tools: list[object]) -> None:
    plain = list(chat_stream(question(messages=ASKED, tools=tools, stream=True)))
    counted = list(
        chat_stream(question(messages=ASKED, tools=tools, stream=True, stream_options={"include_usage": True}))
    )
    assert plain[-1] == counted[-1] == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(chunk) for chunk in plain[:-1]]
    with_usage = [ChatCompletionChunk.model_validate_json(chunk) for chunk in counted[:-1]]
    assert all(chunk.usage is None for chunk in chunks)
    assert [chunk.usage is not None for chunk in with_usage] == [False] * len(chunks) + [True]
    assert with_usage[-1].choices == []


@pytest.mark.parametrize("tools", [[], [RESPONSES_TOOL]])
def test_responses_are_valid_plain_and_streamed(tools: list[object]) -> None:
    asked = question("responses", input="?", tools=tools)
    answer = Response.model_validate(responses_answer(asked))
    assert answer.usage is not None
    assert answer.output[0].type == ("function_call" if tools else "message")
    event_type: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
    events = [event_type.validate_json(event) for event in responses_stream(asked)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage == answer.usage
    assert last.response.id == answer.id


def test_embeddings_have_no_id_and_only_input() -> None:
    asked = question("embeddings", input=["a", "b"])
    answer = CreateEmbeddingResponse.model_validate(embeddings_answer(asked), strict=True)
    assert len(answer.data) == 2
    assert asked.response_id is None
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == asked.tokens.input


def test_counts_and_ids_tell_calls_apart_and_repeat_with_the_seed() -> None:
    calls = [question(number=number, seed=7) for number in range(700)]
    assert len({call.tokens.input for call in calls}) == 700
    assert len({call.tokens.output for call in calls}) == 700
    assert len({call.response_id for call in calls}) == 700
    assert question(number=3, seed=7).response_id == calls[3].response_id != question(number=3).response_id


def test_details_are_parts_of_the_counts_and_appear_in_some_calls() -> None:
    tokens = [question(number=number).tokens for number in range(700)]
    assert all(t.cached <= t.input and t.reasoning <= t.output for t in tokens)
    assert any(t.cached for t in tokens)
    assert any(t.reasoning for t in tokens)
    assert any(t.cached == t.reasoning == 0 for t in tokens)
