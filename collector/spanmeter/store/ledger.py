"""The ledger: what was decided, the events made, and the sums that prove that nothing got lost."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from spanmeter.store.database import Database
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import UsageEvent
from spanmeter.usage.outcome import Outcome, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The outcome that a span has in the books."""

    outcome: Outcome
    reason: Reason
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMemory:
    """What is remembered of a decided trace. `rows` are the journal rows whose spans are accounted for in it."""

    facts: list[SpanFacts] = field(default_factory=list)
    links: dict[bytes, bytes] = field(default_factory=dict)
    outcomes: dict[bytes, Recorded] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)


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


@dataclass(slots=True, kw_only=True)
class Settlement:
    """Everything that one round of decisions changes; stored in one transaction or not at all.

    `held` are decisions that a person may look into, `released` the spans that no longer are. `bodies` are the encoded
    events, aligned with `events`.
    """

    events: list[UsageEvent] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    held: list[Decision] = field(default_factory=list)
    released: list[tuple[bytes, bytes]] = field(default_factory=list)
    tallies: dict[tuple[Outcome, Reason], Tally] = field(default_factory=dict)
    memories: dict[bytes, TraceMemory] = field(default_factory=dict)
    finished_rows: list[int] = field(default_factory=list)

    def tally(self, outcome: Outcome, reason: Reason, amount: Tally) -> None:
        self.tallies[outcome, reason] = self.tallies.get((outcome, reason), Tally()).plus(amount)


class Ledger(Protocol):
    """The books. `settle` is atomic and durable on return; an event whose (id, source) is there already is left out."""

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]: ...

    def billed_tokens(self, source: str, event_ids: Collection[str]) -> Mapping[str, int]: ...

    def parked_with(self, identities: Collection[str]) -> Sequence[tuple[bytes, bytes]]: ...

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None: ...

    def forget(self, *, before_ns: int) -> None: ...


_encoder = msgspec.msgpack.Encoder()
_memory_decoder = msgspec.msgpack.Decoder(TraceMemory)
FORGET_AT_ONCE = 5_000


class SqliteLedger:
    """`Ledger` in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        found = {}
        for trace_id in trace_ids:
            row = self._database.execute("memory_read", trace_id).fetchone()
            if row is not None:
                found[trace_id] = _memory_decoder.decode(row[1])
        return found

    def billed_tokens(self, source: str, event_ids: Collection[str]) -> Mapping[str, int]:
        """Tokens by event id, of those ids for which there is an event."""
        return dict(self._database.execute("event_tokens", source, json.dumps(list(event_ids)))) if event_ids else {}

    def parked_with(self, identities: Collection[str]) -> Sequence[tuple[bytes, bytes]]:
        """(trace id, span id) of parked spans that record one of these calls."""
        return list(self._database.execute("held_with_identity", json.dumps(list(identities)))) if identities else []

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        """`deliver`: put the new events into the outbox; otherwise they are marked as local only."""
        with self._database.transaction() as transaction:
            last_seq: int = transaction.execute("event_max").fetchone()[0]
            transaction.execute_many(
                "event_insert",
                [
                    (
                        e.id,
                        e.source,
                        e.subject,
                        e.time_ns,
                        e.token_class.value,
                        e.tokens,
                        e.model,
                        e.provider,
                        now_ns,
                        body,
                    )
                    for e, body in zip(settlement.events, settlement.bodies, strict=True)
                ],
            )
            if settlement.events:
                transaction.execute("outbox_fill" if deliver else "local_fill", last_seq)
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
            transaction.execute_many(
                "memory_write",
                [(trace_id, now_ns, _encoder.encode(memory)) for trace_id, memory in settlement.memories.items()],
            )
            transaction.execute_many("journal_delete", [(seq,) for seq in settlement.finished_rows])

    def forget(self, *, before_ns: int) -> None:
        """Forget traces decided before that time, some thousands at a call, so that the transaction stays short."""
        with self._database.transaction() as transaction:
            transaction.execute("memory_forget", before_ns, FORGET_AT_ONCE)
