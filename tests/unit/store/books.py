"""A journal and a ledger in memory, for tests of what stands on them; the contract tests hold them to the protocols."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from spanmeter.errors import ConflictError, StoreError
from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.assembler import Assembler
from spanmeter.store.journal import JournalEntry, JournalRow, RowTraces, row_of, row_traces
from spanmeter.store.keys import call_identity
from spanmeter.store.ledger import Billed, Settlement, Tally, TraceMemory
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.call import TokenClass
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import UsageEvent, event_id
from spanmeter.usage.outcome import Outcome, Reason
from tests.spans import SECOND_NS

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TraceMemory).decode


@dataclass(kw_only=True)
class MemoryBooks:
    """`Journal` and `Ledger` at once, for tests that want both. While `broken` is set, every write raises it."""

    rows: dict[int, JournalRow] = field(default_factory=dict)
    appends: list[int] = field(default_factory=list)
    """How many entries each `append` had."""
    entries: list[JournalEntry] = field(default_factory=list)
    events: dict[tuple[str, str], UsageEvent] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    held: dict[tuple[bytes, bytes], Decision] = field(default_factory=dict)
    tallies: dict[tuple[Outcome, Reason], Tally] = field(default_factory=dict)
    traces: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    further: dict[tuple[str, str], str] = field(default_factory=dict)
    """Identities by further name and source."""
    broken: Exception | None = None
    _seq: int = 0

    def append(self, entries: Sequence[JournalEntry]) -> None:
        self._fail()
        self.appends.append(len(entries))
        self.entries.extend(entries)
        for entry in entries:
            if entry.facts or entry.links:
                self._seq += 1
                self.rows[self._seq] = JournalRow(
                    seq=self._seq, received_ns=entry.received_ns, facts=list(entry.facts), links=entry.links
                )

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]:
        return [row for seq, row in self.rows.items() if seq > after][:limit]

    def read_traces(self, *, after: int, limit: int) -> Sequence[RowTraces]:
        return [
            row_traces(row.seq, row.received_ns, [facts.trace_id for facts in row.facts], row.links)
            for row in self.read(after=after, limit=limit)
        ]

    def read_of(self, keys: Mapping[int, Collection[int]]) -> Iterator[JournalRow]:
        return (row_of(row, keys[seq]) for seq, row in self.rows.items() if seq in keys)

    def depth(self) -> int:
        return len(self.rows)

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        return {trace_id: _decode(self.traces[trace_id][1]) for trace_id in trace_ids if trace_id in self.traces}

    def recent_memories(self, *, since_ns: int) -> Iterator[TraceMemory]:
        return iter([_decode(memory) for decided_ns, memory in self.traces.values() if decided_ns >= since_ns])

    def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]:
        found = {}
        for name in names:
            identity = self.further.get((name, source), name)
            ids = [event_id(identity, token_class) for token_class in TokenClass]
            events = {one: event for one in ids if (event := self.events.get((one, source)))}
            found[name] = {one: Billed(tokens=event.tokens, scope=event.scope) for one, event in events.items()}
        return {name: events for name, events in found.items() if events}

    def parked_with(self, identities: Collection[str]) -> Sequence[Decision]:
        return [
            decision
            for decision in self.held.values()
            if decision.outcome in (Outcome.PARKED, Outcome.ESTIMATED) and decision.identity in identities
        ]

    def parked_traces(self) -> set[bytes]:
        return {trace_id for (trace_id, _), held in self.held.items() if held.outcome is Outcome.PARKED}

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        self._fail()
        made = list(zip(settlement.all_events(), settlement.all_bodies(), strict=True))
        memories = dict(settlement.all_memories())
        stored = {trace_id: memory.version for trace_id, memory in self.memories(memories).items()}
        if (
            any(self._has(event) for event, _ in made)
            or any(self.billed(source, [name]) for source, name, _ in settlement.further)
            or any(stored.get(trace_id, memory.version) != memory.version for trace_id, memory in memories.items())
        ):
            raise ConflictError("decided meanwhile by another")
        for event, body in made:
            self.events[event.id, event.source] = event
            self.bodies.append(body)
        for source, name, identity in settlement.further:
            self.further[name, source] = identity
        for key in settlement.released:
            self.held.pop(key, None)
        for decision in settlement.held:
            self.held[decision.span.trace_id, decision.span.span_id] = decision
        for what, amount in settlement.tallies.items():
            self.tallies[what] = self.tallies.get(what, Tally()).plus(amount)
        for trace_id, memory in memories.items():
            self.traces[trace_id] = (now_ns, _encode(replace(memory, version=memory.version + 1)))

    def remove(self, seqs: Collection[int]) -> None:
        self._fail()
        for seq in seqs:
            self.rows.pop(seq, None)

    def forget(self, *, before_ns: int) -> bool:
        self.traces = {key: value for key, value in self.traces.items() if value[0] >= before_ns}
        return False

    def total(self) -> Tally:
        """Everything that has an outcome."""
        total = Tally()
        for amount in self.tallies.values():
            total = total.plus(amount)
        return total

    def spans(self) -> dict[tuple[Outcome, Reason], int]:
        """Spans by outcome, those without any left out."""
        return {what: amount.spans for what, amount in self.tallies.items() if amount.spans}

    def _has(self, event: UsageEvent) -> bool:
        identity = call_identity(event.id)
        return (event.id, event.source) in self.events or bool(identity and self.billed(event.source, [identity]))

    def _fail(self) -> None:
        if self.broken is not None:
            raise self.broken


def disk_full() -> StoreError:
    return StoreError("database: full", hint="free some space")


def assembler_of(books: MemoryBooks, clock: ManualClock, *, quiet_ns: int, max_ns: int) -> Assembler:
    """By the usual rules, on these books alone."""
    return Assembler(
        books,
        books,
        clock=clock,
        rules=Rules(),
        quiet_ns=quiet_ns,
        max_ns=max_ns,
        memory_ns=3600 * SECOND_NS,
        deliver=True,
    )
