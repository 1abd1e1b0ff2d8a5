"""Facts: see the module's docstring."""

import json
from collections.abc import Mapping

import pytest

from spanmeter.usage.dialects.reply_text import MOST_CHARACTERS, Reply, read_reply


@pytest.mark.parametrize(
    ("text", "response_id"),
    [
        ('{"id":"chatcmpl-1","choices":[{"id":"no"}]}', "chatcmpl-1"),
        ('{"choices": [{"message": {"id": "no", "content": "\\"id\\": \\"no\\""}}], "id": "chatcmpl-2"}', "chatcmpl-2"),
        ('{"candidates": [], "response_id": "abc"}', "abc"),
        ('{"candidates": [], "responseId": "def"}', "def"),
        ('{"content": [{"id": "no"}]}', ""),
        ('{"choices": [], "id": 7}', ""),
        ('{"id": "' + "x" * 500 + '"}', ""),
        ("id: chatcmpl-3", ""),
        ('[{"id": "no"}]', ""),
        ('{"id', ""),
        ("", ""),
    ],
)
def test_only_the_reply_s_own_id_is_taken(text: str, response_id: str) -> None:
    assert read_reply(text).response_id == response_id


def test_a_long_reply_is_looked_at_where_it_begins() -> None:
    padding = "x" * MOST_CHARACTERS
    assert read_reply(json.dumps({"id": "chatcmpl-AbCd1234", "text": padding})).response_id == "chatcmpl-AbCd1234"
    assert read_reply(json.dumps({"text": padding, "id": "chatcmpl-1"})) == Reply()


def langchain(message: Mapping[str, object], llm_output: object = None, kind: str = "ChatGeneration") -> Reply:
    generation = {"type": kind, "message": {"id": ["langchain", "AIMessage"], "kwargs": message}}
    return read_reply(json.dumps({"generations": [[generation]], "llm_output": llm_output}))


def test_langchain_s_ids() -> None:
    run = {"id": "lc_run--019"}
    assert langchain(run).response_id == ""
    assert langchain(run | {"response_metadata": {"id": "msg_1"}}).response_id == "msg_1"
    assert langchain(run, {"id": "chatcmpl-1"}).response_id == "chatcmpl-1"
    assert langchain({"id": "resp_1"}).response_id == "resp_1"
    assert langchain({"id": "run-1"}, kind="ChatGenerationChunk") == Reply(streamed=True)


@pytest.mark.parametrize(
    "value", ['{"generations": []}', '{"generations": [[]]}', '{"generations": {"a": 1}}', 5, None]
)
def test_what_is_no_reply_says_nothing(value: object) -> None:
    assert read_reply(value) == Reply()  # type: ignore[arg-type]


def test_a_cost_other_than_zero_is_no_cache() -> None:
    assert langchain({"usage_metadata": {"total_cost": 0}}).from_cache
    assert not langchain({"usage_metadata": {"total_cost": 0.2}}).from_cache
    assert not langchain({"usage_metadata": {"total_cost": False}}).from_cache


def test_the_answer_of_a_model_is_no_reply() -> None:
    # Structured output: an `id` of the application's own, which is text of the answer.
    for answer in ({"id": "ticket-4711-of-Mrs-Miller", "category": "billing"}, {"id": "x" * 40, "model": "sedan"}):
        assert read_reply(json.dumps(answer)).response_id == ""
    assert read_reply(json.dumps({"id": "5a1f0ad0", "choices": []})).response_id == "5a1f0ad0"
