"""A ledger that lasts as long as its process: what was decided lately, in bounded memory."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from spanmeter.store.ledger import Billed, Settlement, TraceMemory
from spanmeter.store.memory import memory_of
from spanmeter.usage.call import TokenClass
from spanmeter.usage.construct import make_usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import counted, event_id
from spanmeter.usage.outcome import Outcome
from spanmeter.usage.packing import Counts, counts_of
from spanmeter.usage.plain import PlainCall

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Newest(Generic[_Key, _Value]):
    """A mapping that keeps the newest `most` entries at least, and half as many more and what came together at most."""

    def __init__(self, most: int) -> None:
        self._part = most // 2
        self._parts: list[dict[_Key, _Value]] = [{}, {}, {}]  # the newest first

    def get(self, key: _Key) -> _Value | None:
        return next((part[key] for part in self._parts if key in part), None)

    def among(self, keys: Collection[_Key]) -> dict[_Key, _Value]:
        """Those with one of these keys."""
        return {key: part[key] for part in reversed(self._parts) for key in part.keys() & keys}

    def update(self, *entries: Mapping[_Key, _Value]) -> None:
        if len(self._parts[0]) >= self._part:
            self._parts = [{}, *self._parts[:-1]]
        for some in entries:
            self._parts[0].update(some)

    def values(self) -> Iterator[_Value]:
        newer: set[_Key] = set()
        for part in self._parts:
            yield from (value for key, value in part.items() if key not in newer)
            newer.update(part)


class RememberedBooks:
    """`Ledger` without a database, of at least the newest `traces` decided and the newest `calls` billed. A span that
    comes later than that is decided as if its trace had not been seen."""

    def __init__(self, *, traces: int, calls: int, classes: Sequence[TokenClass] = ()) -> None:
        """`classes` are those that events are made of."""
        self._classes = classes
        self._traces: _Newest[bytes, TraceMemory | PlainCall] = _Newest(traces)
        self._calls: _Newest[str, tuple[str, Counts, str]] = _Newest(calls)  # identity, what was billed, and the scope
        self._held: _Newest[tuple[bytes, bytes], Decision] = _Newest(traces)
        self._waiting: _Newest[str, tuple[tuple[bytes, bytes], ...]] = _Newest(traces)

    def remembers(self, trace_id: bytes) -> bool:
        return self._traces.get(trace_id) is not None

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        return {trace_id: _copy(memory) for trace_id, memory in self._traces.among(trace_ids).items()}

    def recent_memories(self, *, since_ns: int) -> Iterator[TraceMemory]:
        return map(_copy, self._traces.values())

    def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]:
        found = {
            name: {
                event_id(identity, token_class): Billed(tokens=tokens, scope=scope)
                for token_class, tokens in counted(make_usage(*counts), self._classes)
            }
            for name, (identity, counts, scope) in self._calls.among(names).items()
        }
        return {name: events for name, events in found.items() if events}

    def parked_with(self, identities: Collection[str]) -> Sequence[Decision]:
        keys = [key for waiting in self._waiting.among(identities).values() for key in waiting]
        found = (self._held.get(key) for key in keys)
        return [decision for decision in found if decision is not None and decision.identity in identities]

    def parked_traces(self) -> set[bytes]:
        return {decision.span.trace_id for decision in self._held.values() if decision.outcome is Outcome.PARKED}

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        self._calls.update(
            {call[3]: (call[3], call.counts, call[0].scope) for call in settlement.plain.values()},
            {
                one.identity: (one.identity, counts_of(one.usage), one.span.scope)
                for one in settlement.decisions
                if one.outcome is Outcome.BILLED
            },
        )
        if settlement.further:
            named = {one.name: self._calls.get(one.identity) for one in settlement.further}
            self._calls.update({name: call for name, call in named.items() if call is not None})
        self._traces.update(settlement.plain, settlement.memories)
        for decision in settlement.held:
            if decision.outcome in (Outcome.PARKED, Outcome.ESTIMATED) and decision.identity:
                key = decision.span.trace_id, decision.span.span_id
                self._held.update({key: decision})
                waiting = self._waiting.get(decision.identity) or ()
                if key not in waiting:
                    self._waiting.update({decision.identity: (*waiting, key)})

    def forget(self, *, before_ns: int) -> bool:
        return False


def _copy(memory: TraceMemory | PlainCall) -> TraceMemory:
    """For whoever asks: a decision changes what it was given."""
    if isinstance(memory, PlainCall):
        return memory_of(memory)
    return replace(
        memory,
        facts=[*memory.facts],
        links=dict(memory.links),
        outcomes=dict(memory.outcomes),
        rows=[*memory.rows],
    )
