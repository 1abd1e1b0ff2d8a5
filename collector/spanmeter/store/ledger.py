"""The ledger: what was decided, the events made, and the sums that prove that nothing got lost."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from spanmeter.errors import ConflictError
from spanmeter.store.database import Database
from spanmeter.store.events import PlainEvent as PlainEvent  # noqa: PLC0414 - of this border, too
from spanmeter.store.events import plain_event, write_events
from spanmeter.store.keys import key_of_call
from spanmeter.store.memory import Recorded as Recorded  # noqa: PLC0414 - it is of this border
from spanmeter.store.memory import TraceMemory as TraceMemory  # noqa: PLC0414
from spanmeter.store.memory import memory_of, read_memories, write_memories
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import UsageEvent
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.plain import PlainCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """Tokens of an event that exists, and the instrumentation that reported them."""

    tokens: int
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A span that waits for a person, since when, and what was decided on it."""

    held_ns: int
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Spans and tokens of one outcome; negative in a correction."""

    spans: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def of(cls, facts: SpanFacts) -> "Tally":
        """One span with its tokens."""
        usage = facts.call.usage if facts.call is not None else None
        return cls(
            spans=1, input_tokens=usage.all_input if usage else 0, output_tokens=usage.all_output if usage else 0
        )

    def plus(self, other: "Tally") -> "Tally":
        return Tally(
            spans=self.spans + other.spans,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )

    def negative(self) -> "Tally":
        return Tally(spans=-self.spans, input_tokens=-self.input_tokens, output_tokens=-self.output_tokens)


class FurtherName(NamedTuple):
    """`name` is a name of the call, too, that is or was billed as `identity`."""

    source: str
    name: str
    identity: str


@dataclass(slots=True, kw_only=True)
class Settlement:
    """Everything that one round of decisions changes; stored in one transaction or not at all.

    `plain` are calls that were billed and make all there is of their trace, by its id (see `usage.plain`), and
    `plain_events` what is made of them, those of a call together; the rest is `decisions` that were taken and not final
    before, the `events` made of them with their encoded `bodies`, and `memories` of their traces. `held` are those that
    a person may look into, `released` the spans that no longer are. `further` are names that calls have beside the one
    that they are billed under.
    """

    plain: dict[bytes, PlainCall] = field(default_factory=dict)
    plain_events: Iterable[PlainEvent] = ()
    decisions: list[Decision] = field(default_factory=list)
    events: list[UsageEvent] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    held: list[Decision] = field(default_factory=list)
    released: list[tuple[bytes, bytes]] = field(default_factory=list)
    further: list[FurtherName] = field(default_factory=list)
    tallies: dict[tuple[Outcome, Reason], Tally] = field(default_factory=dict)
    memories: dict[bytes, TraceMemory] = field(default_factory=dict)

    def all_decisions(self) -> list[Decision]:
        """On plain calls too, in the order of the spans' start."""
        decisions = [*(call.decision() for call in self.plain.values()), *self.decisions]
        return sorted(decisions, key=lambda one: (one.span.start_ns, one.span.trace_id, one.span.span_id))

    def all_events(self) -> Iterator[UsageEvent]:
        yield from (plain_event(call, like, tokens) for call, like, tokens, _ in self.plain_events)
        yield from self.events

    def all_bodies(self) -> Iterator[bytes]:
        """Of all events, in the same order, as they go on the wire."""
        yield from (body for _, _, _, body in self.plain_events)
        yield from self.bodies

    def all_memories(self) -> Iterator[tuple[bytes, TraceMemory]]:
        """Of plain calls' traces too, by trace id."""
        yield from self.memories.items()
        yield from ((trace_id, memory_of(call)) for trace_id, call in self.plain.items())

    def tally(self, outcome: Outcome, reason: Reason, amount: Tally) -> None:
        self.tallies[outcome, reason] = self.tallies.get((outcome, reason), Tally()).plus(amount)


class Ledger(Protocol):
    """The books. `settle` is atomic and durable on return. It raises `ConflictError`, and changes nothing, if one of
    the traces has another version than its memory says (0 if it is new), one of the calls has events, or a further name
    is another call's: another process wrote them since this one asked, or it did not ask. Then decide anew.

    `billed` has the events of calls by whichever of their names was asked for; they may be gone, and none left."""

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]: ...

    def recent_memories(self, *, since_ns: int) -> Iterator[TraceMemory]: ...

    def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]: ...

    def parked_with(self, identities: Collection[str]) -> Sequence[Decision]: ...

    def parked_traces(self) -> set[bytes]: ...

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None: ...

    def forget(self, *, before_ns: int) -> bool: ...


_encoder = msgspec.msgpack.Encoder()
_decision_decoder = msgspec.msgpack.Decoder(Decision)
FORGET_AT_ONCE = 5_000


class SqliteLedger:
    """`Ledger` in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        rows = self._database.execute_in_turn("memory_read", ids=b"".join(sorted(trace_ids)))
        return dict(read_memories(rows))

    def recent_memories(self, *, since_ns: int) -> Iterator[TraceMemory]:
        """Of the traces decided since then."""
        return (memory for _, memory in read_memories(self._database.execute("memory_since", since_ns)))

    def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]:
        """The events of these calls, of whatever token class, by name and event id."""
        if not names:
            return {}
        name_of = {key_of_call(source, name): name for name in names}
        found: dict[str, dict[str, Billed]] = {}
        for key, event_id, tokens, scope in self._database.execute_in_turn(
            "call_tokens", keys=b"".join(sorted(name_of))
        ):
            events = found.setdefault(name_of[key], {})
            if event_id:
                events[event_id] = Billed(tokens=tokens, scope=scope)
        return found

    def parked_with(self, identities: Collection[str]) -> Sequence[Decision]:
        """What was decided on spans, parked or held as estimates, that record one of these calls."""
        if not identities:
            return []
        rows = self._database.execute_in_turn("held_with_identity", json.dumps(list(identities)))
        return [_decision_decoder.decode(detail) for (detail,) in rows]

    def parked_traces(self) -> set[bytes]:
        """Ids of the traces that have a parked span."""
        return {trace_id for (trace_id,) in self._database.execute("held_traces")}

    def held(self, outcomes: Collection[Outcome]) -> list[Held]:
        """Spans with one of these outcomes, those held longest first."""
        rows = self._database.execute("held_read", json.dumps([outcome.value for outcome in outcomes]))
        return [Held(held_ns=held_ns, decision=_decision_decoder.decode(detail)) for held_ns, detail in rows]

    def unmetered(self, *, since_ns: int, limit: int) -> list[Decision]:
        """The latest spans without counts, held since `since_ns`."""
        rows = self._database.execute("unmetered_recent", since_ns, limit)
        return [_decision_decoder.decode(detail) for (detail,) in rows]

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        """`deliver`: put the new events into the outbox; otherwise they are marked as local only."""
        with self._database.transaction(checks_references=False) as transaction:
            made = write_events(
                transaction,
                settlement.events,
                settlement.bodies,
                plain=settlement.plain_events,
                now_ns=now_ns,
                deliver=deliver,
            )
            named = transaction.execute_many(
                "call_name",
                [
                    (key_of_call(source, name), key_of_call(source, identity))
                    for source, name, identity in settlement.further
                ],
            )
            transaction.execute_many("held_delete", [*settlement.released])
            transaction.execute_many(
                "held_write",
                [
                    (d.span.trace_id, d.span.span_id, d.outcome, d.reason, d.identity, now_ns, _encoder.encode(d))
                    for d in settlement.held
                ],
            )
            transaction.execute_many(
                "outcome_add",
                [
                    (outcome, reason, amount.spans, amount.input_tokens, amount.output_tokens)
                    for (outcome, reason), amount in settlement.tallies.items()
                ],
            )
            remembered = write_memories(
                transaction, settlement.memories, plain=settlement.plain.values(), now_ns=now_ns
            )
            if made is None or named != len(settlement.further) or not remembered:
                raise ConflictError("what was decided on is in the books, or is another by now; decided anew")

    def forget(self, *, before_ns: int) -> bool:
        """Forget traces decided before that time, some thousands at a call, so that the transaction stays short; true
        if there are more."""
        with self._database.transaction() as transaction:
            kept: int = transaction.execute("rounds_kept", before_ns).fetchone()[0]
            forgotten = transaction.execute("memory_forget", kept, FORGET_AT_ONCE).rowcount
            transaction.execute("round_forget", kept)
        return forgotten == FORGET_AT_ONCE
