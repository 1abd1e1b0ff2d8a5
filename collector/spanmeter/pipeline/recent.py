"""Calls decided a short while ago: a twin from another instrumentation may come in another trace, and later."""

import itertools
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

from spanmeter.usage.call import Key, SpanFacts
from spanmeter.usage.likeness import apart_by_seer, reach_end_ns, reach_ns, readings, readings_of, seen_by, seer_of
from spanmeter.usage.packing import Row
from spanmeter.usage.trace import is_call

MOST_CALLS = 100_000
"""Bounds the memory (some 6 MB, and 15 for services with several instrumentations); twins end within milliseconds of
each other, so that far fewer would do."""
MOST_ALIKE = 1_000
"""Of calls of one instrumentation with the same counts, so many of the newest are looked at."""

ANY_PROMPT = -1
"""A call whose prompt is unknown, which then has no tokens, may be any with the same output."""

_RECORD = struct.Struct("<16s8sqqqqq")
"""Trace, span, from when to when the call may have been (ns), all input and output tokens, and those of reasoning."""


class _Seen:
    """Calls of one service by one instrumentation. They are looked up by their counts only where there is another that
    may have seen them too: until somebody asks, they are just noted."""

    __slots__ = ("_by_counts", "_sorted_bytes", "noted")

    def __init__(self) -> None:
        self.noted = bytearray()
        self._sorted_bytes = 0
        self._by_counts: dict[tuple[int, int], list[int]] = {}

    def alike(self, prompt: int, output: int) -> Iterator[tuple[bytes, bytes, int, int, int, int, int]]:
        """The newest with these counts; with this output, if the prompt is `ANY_PROMPT`."""
        places, noted = self._by_counts, self.noted
        for at in range(self._sorted_bytes, len(noted), _RECORD.size):
            *_, all_input, all_output, reasoning = _RECORD.unpack_from(noted, at)
            for counts in (*readings(all_input, all_output, reasoning), (ANY_PROMPT, all_output)):
                places.setdefault(counts, []).append(at)
        self._sorted_bytes = len(noted)
        return (_RECORD.unpack_from(noted, at) for at in places.get((prompt, output), ())[-MOST_ALIKE:])


_Services = defaultdict[str, defaultdict[str, _Seen]]


def _nothing() -> _Services:
    return defaultdict(lambda: defaultdict(_Seen))


class RecentCalls:
    """Where calls with counts were decided, for `keep_ns` at least; what was decided is in the trace's memory."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._young, self._old = _nothing(), _nothing()  # by service and who saw the call
        self._young_calls = 0
        self._young_since_ns = 0

    def add(self, calls: Iterable[tuple[SpanFacts, Row]], *, now_ns: int) -> None:
        """Remember these, forget what is too old. Facts that are no calls with counts are passed over."""
        if self._young_calls > MOST_CALLS // 2 or now_ns - self._young_since_ns > self._keep_ns:
            self._old, self._young = self._young, _nothing()
            self._young_calls, self._young_since_ns = 0, now_ns
        by_shape: defaultdict[int, list[Row]] = defaultdict(list)  # by the shape's `id`
        shapes: dict[int, SpanFacts] = {}
        for shape, row in calls:
            by_shape[id(shape)].append(row)
            shapes[id(shape)] = shape
        for number, rows in by_shape.items():
            for seer, of_one in apart_by_seer(shapes[number], rows):
                self._note(shapes[number], seer, of_one)

    def _note(self, shape: SpanFacts, seer: str, rows: Iterable[Row]) -> None:
        if not is_call(shape):
            return
        pack, back_ns, ahead_ns = _RECORD.pack, -reach_ns(shape), reach_end_ns(shape)  # of a call at time 0
        records = [
            pack(row[1], row[2], row[5] - back_ns, row[6] + ahead_ns, of[0] + of[1] + of[2], of[3] + of[4], of[4])
            for row in rows
            if (of := row[9]) is not None
        ]
        self._young[shape.service][seer].noted += b"".join(records)
        self._young_calls += len(records)

    def has_others(self, shape: SpanFacts, response_id: str) -> bool:
        """Whether another instrumentation than that of such a call has seen calls of its service."""
        return not self._seers(shape) <= {seen_by(shape, response_id)}

    def twins(self, spans: Iterable[SpanFacts]) -> Iterator[tuple[SpanFacts, Key]]:
        """Of `spans`, each with the calls of other traces that could be the same one, seen by another instrumentation,
        as far as counts and times tell; and with what its own has seen like that, which may be their record."""
        for span in spans:
            usage = span.call.usage if span.call is not None else None
            if usage is None:
                continue
            seer, seers = seer_of(span), self._seers(span)
            if seers <= {seer}:
                continue
            from_ns, to_ns = reach_ns(span), reach_end_ns(span)
            own: list[Key] = []
            has_others = False
            output = usage.all_output
            told = {*readings_of(usage), (0, output)} if usage.all_input else {(ANY_PROMPT, output)}
            for other, counts in itertools.product(seers, told):
                for calls in (self._young, self._old):
                    if other not in calls.get(span.service, ()):
                        continue
                    for trace_id, span_id, began_ns, ended_ns, *_ in calls[span.service][other].alike(*counts):
                        if trace_id != span.trace_id and began_ns <= to_ns and from_ns <= ended_ns:
                            if other == seer:
                                own.append((trace_id, span_id))
                                continue
                            has_others = True
                            yield span, (trace_id, span_id)
            if has_others:
                yield from ((span, key) for key in own)

    def _seers(self, span: SpanFacts) -> set[str]:
        return {*self._young.get(span.service, ()), *self._old.get(span.service, ())}
