"""From what an instrumentation reports to disjoint token classes.

Whether `input` includes cached tokens, and `output` reasoning, differs by provider and instrumentation. Where a total
is on the span it decides; else the parts do where they cannot fit; else what the caller knows of the emitter.
"""

from collections.abc import Callable

from spanmeter.usage.call import Usage
from spanmeter.usage.packing import Counts
from spanmeter.usage.span import Attributes
from spanmeter.usage.values import MOST_TOKENS


def disjoint(
    input_tokens: int,
    output_tokens: int,
    *,
    cache_read: int = 0,
    cache_write: int = 0,
    reasoning: int = 0,
    total: int | None = None,
    cache_included: bool = True,
    reasoning_included: bool = True,
) -> Usage:
    """Counts as reported, brought into disjoint classes.

    in + out = total says that the parts are included, in + out + cache = total (or + reasoning) that they are not: the
    total is the provider's own arithmetic, so it overrules `cache_included` and `reasoning_included`, which say what
    is known of the emitter (the semantic conventions demand inclusion: semconv v1.41.1 model/gen-ai/registry.yaml,
    gen_ai.usage.*). A part larger than the whole that should include it cannot be included.
    """
    cache = cache_read + cache_write
    gap = None if total is None else total - input_tokens - output_tokens
    if gap == 0:
        cache_included = reasoning_included = True
    elif gap is not None and gap > 0:
        if cache and gap == cache + reasoning:
            cache_included, reasoning_included = False, not reasoning
        elif cache and gap == cache:
            cache_included, reasoning_included = False, True
        elif reasoning and gap == reasoning:
            cache_included, reasoning_included = True, False
    if cache > input_tokens:
        cache_included = False
    if reasoning > output_tokens:
        reasoning_included = False
    return Usage(
        input=input_tokens - cache if cache_included else input_tokens,
        cache_read=cache_read,
        cache_write=cache_write,
        output=output_tokens - reasoning if reasoning_included else output_tokens,
        reasoning=reasoning,
    )


class UsualCounts:
    """Whole numbers for input, output and perhaps the total, without any parts; others are left to `otherwise`."""

    __slots__ = ("_keys", "_otherwise", "input_and_output")

    def __init__(
        self, input_key: str, output_key: str, total_key: str, otherwise: Callable[[Attributes], Counts | None]
    ) -> None:
        self.input_and_output = input_key, output_key
        self._keys = input_key, output_key, total_key
        self._otherwise = otherwise

    def __call__(self, attributes: Attributes) -> Counts | None:
        input_key, output_key, total_key = self._keys
        input_tokens, output_tokens, total = attributes[input_key], attributes[output_key], attributes[total_key]
        if (
            type(input_tokens) is type(output_tokens) is type(total) is int
            and 0 <= input_tokens <= MOST_TOKENS
            and 0 <= output_tokens <= MOST_TOKENS
            and 0 <= total <= MOST_TOKENS
            and (input_tokens or output_tokens)
        ):
            return input_tokens, 0, 0, output_tokens, 0
        return self._otherwise(attributes)
