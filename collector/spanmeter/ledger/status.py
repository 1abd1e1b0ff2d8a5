"""How things stand: received, outcomes, journal, outbox, delivery."""

import time
from dataclasses import dataclass

from spanmeter.ledger.settlement import SettlementState, read_settlement
from spanmeter.ledger.unseen import UnmeteredModel, UnseenLibrary, unmetered_models, unseen_libraries
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger, Tally
from spanmeter.usage.event import rfc3339
from spanmeter.usage.outcome import Outcome, Reason, uninteresting


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    outcome: str
    reason: str
    spans: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Everything that was journalled since the file was made."""

    requests: int
    spans: int
    llm_spans: int
    rejected: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`state` is delivering, retrying, halted or idle (nothing was ever sent); times are RFC 3339, empty for never."""

    state: str
    pending: int
    oldest_pending: str
    dead_letters: int
    local_only: int
    last_delivery: str
    last_error: str
    last_error_at: str
    hint: str
    discarded: int
    """Dead letters that a person gave up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`undecided` LLM spans are in the journal still. `balanced`: received = outcomes + undecided, spans and tokens."""

    received: Received
    outcomes: list[OutcomeRow]
    undecided: Tally
    balanced: bool
    journal_rows: int
    journal_oldest_s: float
    delivery: Delivery
    settlement: SettlementState
    unseen: list[UnseenLibrary]
    """Libraries that processes with the plug-in used without an instrumentation."""
    unmetered: list[UnmeteredModel]
    """Calls without usage, by model."""


def read_status(database: Database) -> Status:
    """One consistent reading of the books."""
    with database.snapshot():
        journal = SqliteJournal(database)
        received = Received(
            **dict(
                zip(
                    ("requests", "spans", "llm_spans", "input_tokens", "output_tokens", "rejected"),
                    journal.received(),
                    strict=True,
                )
            )
        )
        tallies = {
            (Outcome(outcome), Reason(reason)): Tally(spans=spans, input_tokens=inputs, output_tokens=outputs)
            for outcome, reason, spans, inputs, outputs in database.execute("outcome_read")
        }
        undecided = _undecided(journal, SqliteLedger(database))
        facts = dict(database.execute("fact_read"))
        rows, oldest_ns = journal.depth_and_oldest()
        oldest_pending = database.execute("outbox_oldest")
        delivery = Delivery(
            state=facts.get("delivery_state", "idle"),
            pending=database.execute("outbox_depth")[0][0],
            oldest_pending=rfc3339(oldest_pending[0][0]) if oldest_pending else "",
            dead_letters=database.execute("dead_letter_depth")[0][0],
            local_only=database.execute("local_depth")[0][0],
            last_delivery=_time(facts, "last_delivery_ns"),
            last_error=facts.get("last_error", ""),
            last_error_at=_time(facts, "last_error_ns"),
            hint=facts.get("delivery_hint", "") if facts.get("delivery_state") == "halted" else "",
            discarded=database.execute("discarded_depth")[0][0],
        )
        settlement = read_settlement(database)
        unseen, unmetered = unseen_libraries(database), unmetered_models(database)
    total = undecided
    for amount in tallies.values():
        total = total.plus(amount)
    balanced = total == Tally(
        spans=received.llm_spans, input_tokens=received.input_tokens, output_tokens=received.output_tokens
    )
    for key, spans in uninteresting(
        spans=received.spans, llm_spans=received.llm_spans, rejected=received.rejected
    ).items():
        tallies[key] = tallies.get(key, Tally()).plus(Tally(spans=spans))
    return Status(
        received=received,
        outcomes=[
            OutcomeRow(
                outcome=outcome,
                reason=reason,
                spans=amount.spans,
                input_tokens=amount.input_tokens,
                output_tokens=amount.output_tokens,
            )
            for (outcome, reason), amount in tallies.items()
            if amount.spans
        ],
        undecided=undecided,
        balanced=balanced,
        journal_rows=rows,
        journal_oldest_s=max(0.0, (time.time_ns() - oldest_ns) / 1e9) if rows else 0.0,
        delivery=delivery,
        settlement=settlement,
        unseen=unseen,
        unmetered=unmetered,
    )


def _undecided(journal: SqliteJournal, ledger: SqliteLedger) -> Tally:
    """LLM spans in journal rows that their trace's memory does not account for yet."""
    total, after = Tally(), 0
    while rows := journal.read(after=after, limit=200):
        after = rows[-1].seq
        memories = ledger.memories({facts.trace_id for row in rows for facts in row.facts})
        for row in rows:
            for facts in row.facts:
                memory = memories.get(facts.trace_id)
                if facts.call is not None and (memory is None or row.seq not in memory.rows):
                    total = total.plus(Tally.of(facts))
    return total


def _time(facts: dict[str, str], name: str) -> str:
    return rfc3339(int(facts[name])) if name in facts else ""
