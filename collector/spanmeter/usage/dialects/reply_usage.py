"""The `usage` object of a provider's reply, where an instrumentation passes it on as JSON instead of attributes.

Source: openai-python types/completion_usage.py and types/responses/response_usage.py; anthropic-sdk-python
types/usage.py (`input_tokens` excludes what was read from and written to the cache); python-genai types.py,
GenerateContentResponseUsageMetadata (`candidates_token_count` excludes thoughts, tool use prompts are apart);
Bedrock Converse API, TokenUsage (`inputTokens` excludes the cache, `totalTokens` includes it); langchain-core 1.8.3
messages/ai.py, UsageMetadata (input and output include their details); haystack-ai 3.4.1 components/embedders
(`meta.usage`); cohere 7.3.1 types/api_meta_billed_units.py (floating-point numbers).
"""

from collections.abc import Mapping

from spanmeter.usage.call import Usage
from spanmeter.usage.dialects.otel_genai import CountNames, read_counts
from spanmeter.usage.span import AttributeValue
from spanmeter.usage.values import BadCountError, count, json_object

_OPENAI = CountNames(
    input=("prompt_tokens", "input_tokens"),
    output=("completion_tokens", "output_tokens"),
    cache_read=("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
    cache_write=("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"),
    reasoning=("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
    total=("total_tokens",),
)
_ANTHROPIC = CountNames(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read_input_tokens",),
    cache_write=("cache_creation_input_tokens",),
    reasoning=("output_tokens_details.thinking_tokens",),
)
_GEMINI = CountNames(
    input=("prompt_token_count", "promptTokenCount"),
    output=("candidates_token_count", "candidatesTokenCount"),
    cache_read=("cached_content_token_count", "cachedContentTokenCount"),
    reasoning=("thoughts_token_count", "thoughtsTokenCount"),
    total=("total_token_count", "totalTokenCount"),
)
_GEMINI_TOOL_USE = ("tool_use_prompt_token_count", "toolUsePromptTokenCount")
_BEDROCK = CountNames(
    input=("inputTokens",),
    output=("outputTokens",),
    cache_read=("cacheReadInputTokens",),
    cache_write=("cacheWriteInputTokens",),
    total=("totalTokens",),
)
_LANGCHAIN = CountNames(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read",),
    cache_write=("cache_creation",),
    reasoning=("reasoning",),
    total=("total_tokens",),
)
_BILLED_UNITS = CountNames(input=("input_tokens",), output=("output_tokens",))


def read_reply_usage(usage: Mapping[str, AttributeValue]) -> tuple[Usage | None, str]:
    """Disjoint counts, by the meaning that the provider gives them which the names betray; see `read_counts`."""
    if usage.keys() & {*_GEMINI.input, *_GEMINI.output, *_GEMINI.total}:
        return _read_gemini(usage)
    if usage.keys() & {*_BEDROCK.input, *_BEDROCK.output}:
        return read_counts(usage, _BEDROCK, cache_included=False)
    counts = _flattened(usage)
    if counts.keys() & {*_ANTHROPIC.cache_read, *_ANTHROPIC.cache_write} and "prompt_tokens" not in counts:
        return read_counts(counts, _ANTHROPIC, cache_included=False)
    return read_counts(counts, _OPENAI)


def read_output_meta(output: AttributeValue) -> tuple[Usage | None, str]:
    """The counts in what the output of an embedder says about itself: Haystack's, or a reply of Cohere's."""
    meta = json_object(json_object(output).get("meta"))
    billed_units = json_object(meta.get("billed_units"))
    return (
        read_counts(billed_units, _BILLED_UNITS) if billed_units else read_reply_usage(json_object(meta.get("usage")))
    )


def read_langchain_usage(usage: Mapping[str, AttributeValue]) -> tuple[Usage | None, str]:
    """The counts of LangChain's `usage_metadata`."""
    details = with_cache_writes(json_object(usage.get("input_token_details")))
    return read_counts({**usage, **details, **json_object(usage.get("output_token_details"))}, _LANGCHAIN)


def with_cache_writes(details: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """LangChain's details of input tokens, the sum of cache writes among them: langchain-anthropic 1.x tells writes by
    their lifetime, and the sum is then zero."""
    ephemeral = [
        value for name, value in details.items() if name.startswith("ephemeral_") and isinstance(value, int) and value
    ]
    if not ephemeral or details.get("cache_creation"):
        return details
    return {**details, "cache_creation": sum(ephemeral)}


def _read_gemini(usage: Mapping[str, AttributeValue]) -> tuple[Usage | None, str]:
    try:
        tool_use = count(usage, *_GEMINI_TOOL_USE)
        prompt = count(usage, *_GEMINI.input)
    except BadCountError as error:
        return None, str(error)
    if tool_use:
        usage = {**usage, _GEMINI.input[0]: (prompt or 0) + tool_use}
    return read_counts(usage, _GEMINI, reasoning_included=False)


def _flattened(usage: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Members of members under `outer.inner`."""
    counts: dict[str, AttributeValue] = {}
    for key, value in usage.items():
        if isinstance(value, Mapping):
            counts.update({f"{key}.{inner}": part for inner, part in value.items()})
        else:
            counts[key] = value
    return counts
