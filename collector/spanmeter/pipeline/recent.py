"""Calls decided a short while ago: a twin from another instrumentation may come in another trace, and later."""

import itertools
import struct
from collections.abc import Iterable, Iterator

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.grouping import Key, reach_end_ns, reach_ns

MOST_CALLS = 100_000
"""Bounds the memory (some 25 MB); twins end within milliseconds of each other, so that far fewer would do."""
MOST_ALIKE = 1_000
"""Of calls of one instrumentation with the same counts, so many of the newest are looked at."""

ANY_PROMPT = -1
"""A call whose prompt is unknown, which then has no tokens, may be any with the same output."""

_RECORD = struct.Struct("<16s8sqq")  # trace, span, and from when to when the call may have been, ns

_NONE: frozenset[str] = frozenset()


class RecentCalls:
    """Where calls with counts were decided, for `keep_ns` at least; what was decided is in the trace's memory."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._young: dict[int, list[bytes]] = {}
        self._old: dict[int, list[bytes]] = {}
        self._young_calls = 0
        self._young_since_ns = 0
        self._young_scopes: dict[str, set[str]] = {}
        self._old_scopes: dict[str, set[str]] = {}

    def add(self, calls: Iterable[SpanFacts], *, now_ns: int) -> None:
        """Remember these, forget what is too old."""
        if self._young_calls > MOST_CALLS // 2 or now_ns - self._young_since_ns > self._keep_ns:
            self._old, self._young = self._young, {}
            self._old_scopes, self._young_scopes = self._young_scopes, {}
            self._young_calls, self._young_since_ns = 0, now_ns
        for span in calls:
            usage = span.call.usage if span.call is not None else None
            if span.call is None or usage is None:
                continue
            service, scope = span.service, span.scope
            self._young_scopes.setdefault(service, set()).add(scope)
            record = _RECORD.pack(
                span.trace_id.ljust(16, b"\0"),
                span.span_id.ljust(8, b"\0"),
                reach_ns(span),
                reach_end_ns(span),
            )
            for prompt in (usage.all_input, ANY_PROMPT):
                self._young.setdefault(hash((service, scope, prompt, usage.all_output)), []).append(record)
            self._young_calls += 1

    def twins(self, spans: Iterable[SpanFacts]) -> Iterator[tuple[SpanFacts, Key]]:
        """Of `spans`, each with the calls of other traces that could be the same one, seen by another instrumentation,
        as far as counts and times tell; and with what its own has seen like that, which may be their record."""
        for span in spans:
            usage = span.call.usage if span.call is not None else None
            if span.call is None or usage is None:
                continue
            scopes = self._young_scopes.get(span.service, _NONE) | self._old_scopes.get(span.service, _NONE)
            if scopes <= {span.scope}:
                continue
            from_ns, to_ns = reach_ns(span), reach_end_ns(span)
            own: list[Key] = []
            has_others = False
            prompts = (usage.all_input, 0) if usage.all_input else (ANY_PROMPT,)
            for scope, prompt in itertools.product(scopes, prompts):
                alike = hash((span.service, scope, prompt, usage.all_output))
                for calls in (self._young, self._old):
                    for record in calls.get(alike, ())[-MOST_ALIKE:]:
                        trace_id, span_id, began_ns, ended_ns = _RECORD.unpack(record)
                        if trace_id != span.trace_id and began_ns <= to_ns and from_ns <= ended_ns:
                            if scope == span.scope:
                                own.append((trace_id, span_id))
                                continue
                            has_others = True
                            yield span, (trace_id, span_id)
            if has_others:
                yield from ((span, key) for key in own)
