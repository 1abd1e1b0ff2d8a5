"""What the JSON text of a provider's reply says of the call: its id, whether it was streamed, or came from a cache.

Some instrumentations put the reply into an attribute and its id into none. Nothing else is taken from the text, but for
the counts in a reply of LangChain's.

Source: openinference-instrumentation-openai 0.1.66 (`output.value` is the reply as JSON; `id` comes first, for streams
after `choices`); openinference-instrumentation-google-genai 1.4.14 (`response_id`);
openinference-instrumentation-langchain 0.1.80 and langsmith 0.15.0 (a dumped LLMResult: the provider's id in
`response_metadata`, in `llm_output`, or as the message's own id, which otherwise is the run's, `lc_run-…`);
langchain-core 1.8.2 language_models/chat_models.py, _convert_cached_generations (an answer from LangChain's cache gets
`total_cost: 0` in its `usage_metadata`; live ones have no such member), outputs/chat_generation.py (streams come as
ChatGenerationChunk); autogen-core 0.7.5 models/_types.py CreateResult (`cached`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from spanmeter.usage.span import AttributeValue
from spanmeter.usage.values import json_object

MOST_CHARACTERS = 256 * 1024
"""Longer replies are not parsed for an id that is not at their beginning."""
FASTEST_ANSWER_NS = 2_000_000
"""No model behind a network answers sooner; LangChain's cache takes a few tenths of a millisecond."""
_MOST_ID_CHARACTERS = 128
# What providers begin their ids with: OpenAI and those that speak its language, Anthropic, OpenRouter.
_ID_FIRST = re.compile(r'\s*\{\s*"id"\s*:\s*"((?:chatcmpl|cmpl|resp|msg|gen)[-_][A-Za-z0-9_-]{8,120})"')
_LANGCHAIN_RUN = ("lc_", "run-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`usage` is LangChain's `usage_metadata`, see `reply_usage.read_langchain_usage`; empty for other replies."""

    response_id: str = ""
    from_cache: bool = False
    streamed: bool = False
    usage: Mapping[str, AttributeValue] = field(default_factory=dict)


_NOTHING = Reply()


def read_reply(text: AttributeValue) -> Reply:
    """What `text` tells, if it is a reply's JSON object; nothing of it if it is something else."""
    if not isinstance(text, str):
        return _NOTHING
    first = _ID_FIRST.match(text)
    if first:
        return Reply(response_id=first.group(1))
    if len(text) > MOST_CHARACTERS:
        return _NOTHING
    reply = json_object(text)
    if "generations" in reply:
        return _read_langchain(reply)
    if not _is_reply(reply):
        return _NOTHING
    return Reply(
        response_id=_id(reply, "id", "response_id", "responseId"),
        from_cache=reply.get("cached") is True and "usage" in reply,
    )


def read_langchain_reply(text: AttributeValue) -> Reply:
    """As `read_reply`, of a dumped LLMResult. It is parsed at any length: it may be the only place of the counts."""
    result = json_object(text)
    return _read_langchain(result) if "generations" in result else _NOTHING


def _is_reply(reply: Mapping[str, AttributeValue]) -> bool:
    """A model that was asked for JSON may answer with an `id` of its own: that is an answer's text, not a reply."""
    return any(isinstance(reply.get(name), list) for name in ("choices", "candidates", "output")) or any(
        isinstance(reply.get(name), Mapping) for name in ("usage", "usage_metadata", "usageMetadata", "meta")
    )


def _read_langchain(result: Mapping[str, AttributeValue]) -> Reply:
    generation = _langchain_generation(result)
    message = json_object(json_object(generation.get("message")).get("kwargs"))
    usage = json_object(message.get("usage_metadata"))
    own_id = _id(message, "id")
    return Reply(
        response_id=_id(json_object(message.get("response_metadata")), "id", "response_id")
        or _id(json_object(result.get("llm_output") or result.get("llmOutput")), "id")
        or ("" if own_id.startswith(_LANGCHAIN_RUN) else own_id),
        from_cache=_is_zero(usage.get("total_cost")),
        streamed=generation.get("type") == "ChatGenerationChunk",
        usage=usage,
    )


def _langchain_generation(result: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """The first answer to the first prompt: one run has one prompt, and all answers to it are one reply's."""
    prompts = result.get("generations")
    answers = prompts[0] if isinstance(prompts, list) and prompts else None
    return json_object(answers[0] if isinstance(answers, list) and answers else None)


def _id(members: Mapping[str, AttributeValue], *names: str) -> str:
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and 0 < len(value) <= _MOST_ID_CHARACTERS:
            return value
    return ""


def _is_zero(value: AttributeValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
