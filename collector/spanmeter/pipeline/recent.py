"""Calls decided a short while ago: a twin from another instrumentation may come in another trace, and later."""

from collections import deque
from collections.abc import Iterable, Mapping

from spanmeter.store.ledger import Recorded
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.grouping import Key, call_of, key_of, side_by_side

MOST_CALLS = 100_000
"""Bounds the memory (some 100 MB); twins end within milliseconds of each other, so that far fewer would do."""


class RecentCalls:
    """Calls with counts and what they were recorded as, findable for `keep_ns` after they were decided."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._by_counts: dict[tuple[str, int, int], dict[Key, tuple[SpanFacts, Recorded]]] = {}
        self._ages: deque[tuple[int, SpanFacts]] = deque()

    def add(self, calls: Iterable[tuple[SpanFacts, Recorded]], *, now_ns: int) -> None:
        """Remember these, forget what is too old."""
        for span, recorded in calls:
            key = _counts(span)
            if key is not None:
                self._by_counts.setdefault(key, {})[key_of(span)] = span, recorded
                self._ages.append((now_ns, span))
        while self._ages and (self._ages[0][0] < now_ns - self._keep_ns or len(self._ages) > MOST_CALLS):
            _, span = self._ages.popleft()
            key = _counts(span)
            assert key is not None
            same = self._by_counts.get(key, {})
            same.pop(key_of(span), None)
            if not same:
                self._by_counts.pop(key, None)

    def twins(self, spans: Iterable[SpanFacts]) -> Mapping[Key, tuple[SpanFacts, Recorded]]:
        """Remembered calls that could be one of `spans` seen by another instrumentation, with their records."""
        found = {}
        for span in spans:
            key = _counts(span)
            for other_key, other in self._by_counts.get(key, {}).items() if key is not None else ():
                if other[0].trace_id != span.trace_id and side_by_side(span, other[0]):
                    found[other_key] = other
        return found


def _counts(span: SpanFacts) -> tuple[str, int, int] | None:
    if span.call is None or span.call.usage is None:
        return None
    usage = call_of(span).usage
    assert usage is not None
    return span.service, usage.all_input, usage.all_output
