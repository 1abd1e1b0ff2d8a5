"""What a dialect is: one instrumentation's vocabulary, and how its spans are read."""

from collections.abc import Callable
from dataclasses import dataclass

from spanmeter.usage.call import LlmCall
from spanmeter.usage.span import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """`keys` are all attribute keys that `recognise` reads, `markers` strings of which every such key contains one.

    `context` are further keys that it reads where a span has them, without a marker: many spans that are no LLM spans
    have them too, so alone they are no reason to look at a span.

    `recognise` answers None for a span of another vocabulary, or one that is no LLM span at all.
    """

    name: str
    keys: frozenset[str]
    markers: tuple[str, ...]
    recognise: Callable[[Span], LlmCall | None]
    context: frozenset[str] = frozenset()
