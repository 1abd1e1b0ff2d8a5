"""What the local stand-in answers, in the shapes of OpenAI's API: bodies and server-sent events, no sockets.

No model is asked. Texts say so. Token counts, ids and the choice of detail depend on the seed and the call's number
only, so that a run with the same calls in the same order reports the same numbers.
"""

import base64
import json
import random
import string
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

Api = Literal["chat", "embeddings", "responses"]
Json = dict[str, Any]

TEXT: Final = "This text comes from spanmeter's local stand-in: no model was asked. The invoice is as the tool said."

DATED_MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gpt-4o": "gpt-4o-2024-08-06",
        "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
        "gpt-4.1": "gpt-4.1-2025-04-14",
        "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
        "gpt-5": "gpt-5-2025-08-07",
        "gpt-5-mini": "gpt-5-mini-2025-08-07",
        "o4-mini": "o4-mini-2025-04-16",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Counts as OpenAI reports them: `input` includes `cached`, `output` includes `reasoning`."""

    input: int
    output: int
    cached: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request's body with what the server knows of it. `number` counts the answered requests from 0."""

    api: Api
    body: Json
    number: int
    seed: int
    created_s: int

    @property
    def model_request(self) -> str:
        return str(self.body["model"])

    @property
    def model_response(self) -> str:
        return DATED_MODELS.get(self.model_request, self.model_request)

    @property
    def streamed(self) -> bool:
        return self.api != "embeddings" and self.body.get("stream") is True

    @property
    def reports_usage(self) -> bool:
        """Chat completions say what a streamed answer cost only if `stream_options.include_usage` asks for it."""
        if self.api != "chat" or not self.streamed:
            return True
        return (self.body.get("stream_options") or {}).get("include_usage") is True

    @property
    def response_id(self) -> str | None:
        """None for embeddings, whose answers have no id."""
        if self.api == "chat":
            return "chatcmpl-" + "".join(self._random("id").choices(string.ascii_letters + string.digits, k=29))
        if self.api == "responses":
            return "resp_" + "".join(self._random("id").choices("0123456789abcdef", k=48))
        return None

    @property
    def item_id(self) -> str:
        """The id of the message or tool call inside the answer, without its prefix."""
        return "".join(self._random("item").choices(string.ascii_letters + string.digits, k=24))

    @property
    def tokens(self) -> Tokens:
        """Input counts differ within any 1,999 consecutive calls, output counts within any 797 (both primes)."""
        given = 24 + (self.number * 739 + self.seed * 31) % 1999
        if self.api == "embeddings":
            return Tokens(input=given, output=0, cached=0, reasoning=0)
        made = 9 + (self.number * 211 + self.seed * 17) % 797
        thinks = self.model_request.startswith(("o", "gpt-5")) or self.number % 4 == 3
        return Tokens(
            input=given,
            output=made,
            cached=given // 256 * 128 if self.number % 3 == 2 else 0,  # OpenAI caches in steps of 128 tokens
            reasoning=made // 3 if thinks else 0,
        )

    @property
    def tool(self) -> tuple[str, str] | None:
        """Name and JSON arguments of the tool to be called, or None where the answer is a text."""
        functions = [t.get("function", t) for t in self.body.get("tools") or () if t.get("type") == "function"]
        if not functions or not self._user_spoke_last():
            return None
        function = functions[0]
        return str(function["name"]), json.dumps(_arguments(function.get("parameters") or {}))

    def _user_spoke_last(self) -> bool:
        turns = self.body.get("messages" if self.api == "chat" else "input")
        return isinstance(turns, str) or (bool(turns) and isinstance(turns, list) and turns[-1].get("role") == "user")

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self.seed}/{self.number}/{purpose}")  # noqa: S311 - ids of a demonstration


def _arguments(schema: Json) -> Json:
    """Arguments that fit a tool's JSON schema: a default, the first of an enumeration, or a plain value of the type."""
    plain: Json = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
    return {
        name: rule.get("default", (rule.get("enum") or [plain.get(rule.get("type"), "2041")])[0])
        for name, rule in (schema.get("properties") or {}).items()
    }


def chat_answer(question: Question) -> Json:
    """The body of a chat completion with `n` equal choices."""
    message: Json = {"role": "assistant", "content": TEXT, "refusal": None}
    if question.tool:
        message |= {"content": None, "tool_calls": [_chat_tool_call(question, question.tool)]}
    choice = {"message": message, "logprobs": None, "finish_reason": _finish(question)}
    return {
        "id": question.response_id,
        "object": "chat.completion",
        "created": question.created_s,
        "model": question.model_response,
        "choices": [{"index": i, **choice} for i in range(question.body.get("n") or 1)],
        "usage": _chat_usage(question.tokens),
        "service_tier": "default",
        "system_fingerprint": "fp_local",
    }


def chat_stream(question: Question) -> Iterator[str]:
    """The data of each server-sent event, `[DONE]` last."""
    head: Json = {
        "id": question.response_id,
        "object": "chat.completion.chunk",
        "created": question.created_s,
        "model": question.model_response,
        "service_tier": "default",
        "system_fingerprint": "fp_local",
    }
    if question.reports_usage:
        head["usage"] = None
    if question.tool:
        call = _chat_tool_call(question, question.tool)
        function = call["function"]
        first = {"index": 0, **call, "function": {**function, "arguments": ""}}
        deltas: list[Json] = [
            {"role": "assistant", "content": None, "tool_calls": [first]},
            {"tool_calls": [{"index": 0, "function": {"arguments": function["arguments"]}}]},
        ]
    else:
        deltas = [{"role": "assistant", "content": "", "refusal": None}, *({"content": word} for word in _words(TEXT))]
    for index in range(question.body.get("n") or 1):
        for delta in deltas:
            choice: Json = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            yield json.dumps(head | {"choices": [choice]})
        last: Json = {"index": index, "delta": {}, "logprobs": None, "finish_reason": _finish(question)}
        yield json.dumps(head | {"choices": [last]})
    if question.reports_usage:
        yield json.dumps(head | {"choices": [], "usage": _chat_usage(question.tokens)})
    yield "[DONE]"


def embeddings_answer(question: Question) -> Json:
    """One short vector an input, as floats or, which is what OpenAI's client asks for, as base64 of 32-bit floats."""
    given = question.body.get("input", "")
    is_list_of_inputs = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    vector = [round(1 / (i + 2), 6) for i in range(question.body.get("dimensions") or 8)]
    encoded: str | list[float] = vector
    if question.body.get("encoding_format") == "base64":
        encoded = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    count = len(given) if is_list_of_inputs else 1
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": encoded} for i in range(count)],
        "model": question.model_response,
        "usage": {"prompt_tokens": question.tokens.input, "total_tokens": question.tokens.input},
    }


def responses_answer(question: Question) -> Json:
    """The body of a finished response of the Responses API."""
    return _response(question, status="completed", output=[_item(question, status="completed")])


def responses_stream(question: Question) -> Iterator[str]:
    """The data of each server-sent event; `response.completed`, which carries the usage, is the last."""
    for number, event in enumerate(_response_events(question)):
        yield json.dumps(event | {"sequence_number": number})


def _response_events(question: Question) -> Iterator[Json]:
    begun = _response(question, status="in_progress", output=[])
    item = _item(question, status="completed")
    at: Json = {"item_id": item["id"], "output_index": 0}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    if question.tool:
        empty = item | {"status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
        yield {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **at, **done}
    else:
        empty = item | {"status": "in_progress", "content": []}
        part = item["content"][0]
        at["content_index"] = 0
        yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
        yield {"type": "response.content_part.added", **at, "part": part | {"text": ""}}
        for word in _words(TEXT):
            yield {"type": "response.output_text.delta", **at, "delta": word, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": responses_answer(question)}


def _response(question: Question, *, status: str, output: Sequence[Json]) -> Json:
    tokens = question.tokens
    usage = {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
    return {
        "id": question.response_id,
        "object": "response",
        "created_at": question.created_s,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": question.body.get("instructions"),
        "metadata": {},
        "model": question.model_response,
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": question.body.get("tools") or [],
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }


def _item(question: Question, *, status: str) -> Json:
    if question.tool:
        name, arguments = question.tool
        ids = {"id": f"fc_{question.item_id}", "call_id": f"call_{question.item_id}"}
        return {"type": "function_call", **ids, "name": name, "arguments": arguments, "status": status}
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    head = {"type": "message", "id": f"msg_{question.item_id}", "role": "assistant"}
    return {**head, "status": status, "content": [part]}


def _chat_tool_call(question: Question, tool: tuple[str, str]) -> Json:
    name, arguments = tool
    return {"id": f"call_{question.item_id}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _chat_usage(tokens: Tokens) -> Json:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish(question: Question) -> str:
    return "tool_calls" if question.tool else "stop"


def _words(text: str) -> list[str]:
    """The text in pieces that joined give it again."""
    first, *rest = text.split(" ")
    return [first, *(" " + word for word in rest)]
