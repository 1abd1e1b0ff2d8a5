"""Calls decided a short while ago: a twin from another instrumentation may come in another trace, and later."""

from collections import deque
from collections.abc import Iterable, Iterator

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.grouping import Key, call_of, key_of

MOST_CALLS = 100_000
"""Bounds the memory (some 100 MB); twins end within milliseconds of each other, so that far fewer would do."""


class RecentCalls:
    """Calls with counts, findable by service and counts for `keep_ns` after they were decided."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._by_counts: dict[tuple[str, int, int], dict[Key, SpanFacts]] = {}
        self._ages: deque[tuple[int, SpanFacts]] = deque()

    def add(self, spans: Iterable[SpanFacts], *, now_ns: int) -> None:
        """Remember these, forget what is too old."""
        for span in spans:
            usage = call_of(span).usage
            if usage is not None:
                self._by_counts.setdefault((span.service, usage.all_input, usage.all_output), {})[key_of(span)] = span
                self._ages.append((now_ns, span))
        while self._ages and (self._ages[0][0] < now_ns - self._keep_ns or len(self._ages) > MOST_CALLS):
            _, span = self._ages.popleft()
            usage = call_of(span).usage
            assert usage is not None
            key = (span.service, usage.all_input, usage.all_output)
            self._by_counts.get(key, {}).pop(key_of(span), None)
            if not self._by_counts.get(key, True):
                del self._by_counts[key]

    def like(self, spans: Iterable[SpanFacts]) -> Iterator[SpanFacts]:
        """Remembered calls of the same services with the same counts, each once."""
        seen: set[Key] = set()
        for span in spans:
            usage = span.call.usage if span.call is not None else None
            if usage is not None:
                for key, found in self._by_counts.get((span.service, usage.all_input, usage.all_output), {}).items():
                    if key not in seen:
                        seen.add(key)
                        yield found
