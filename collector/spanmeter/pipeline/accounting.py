"""From decided traces to one settlement: what is billed, what is held for a person, and books that balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from spanmeter.store.ledger import Ledger, Recorded, Settlement, Tally, TraceMemory
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.decision import Decision, decide
from spanmeter.usage.event import EventRules, UsageEvent, events
from spanmeter.usage.identity import span_identity
from spanmeter.usage.outcome import FINAL, Outcome, Reason
from spanmeter.usage.trace import Trace

HELD = frozenset({Outcome.PARKED, Outcome.UNMETERED, Outcome.ESTIMATED, Outcome.INVALID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A span with facts, and the journal row that brought it."""

    row: int
    facts: SpanFacts


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What has come of one trace since it was decided last, or at all."""

    arrivals: list[Arrival] = field(default_factory=list)
    links: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decisions depend on besides the spans."""

    events: EventRules = EventRules()
    default_subject: str = ""


def settle_traces(gathered: Mapping[bytes, Gathered], ledger: Ledger, *, rules: Rules) -> Settlement:
    """Decide traces together with what is remembered of them, and account for every span that arrived.

    Spans of journal rows that a trace's memory has accounted for already are passed over, so that a row may be read
    again after a restart. Nothing is stored: that is the ledger's `settle`. Raises AssertionError if received spans and
    outcomes would not balance: better to stop than to lose money in silence.
    """
    settlement = Settlement()
    memories = ledger.memories(gathered.keys())
    decided: list[tuple[bytes, list[Decision]]] = []
    for trace_id in sorted(gathered):
        memory = memories.get(trace_id, TraceMemory())
        trace, arrived = _assemble(gathered[trace_id], memory, settlement)
        billed = {span_id: was.identity for span_id, was in memory.outcomes.items() if was.outcome in FINAL}
        decided.append((trace_id, decide(trace, billed=billed, default_subject=rules.default_subject)))
        rows = sorted({*memory.rows, *(arrival.row for arrival in gathered[trace_id].arrivals)})
        settlement.memories[trace_id] = TraceMemory(
            facts=list(trace.facts.values()), links=trace.links, outcomes=dict(memory.outcomes), rows=rows
        )
        assert arrived == _llm_spans(gathered[trace_id], memory), "spans got lost while a trace was assembled"
    _bill(decided, ledger, settlement, rules=rules)
    _balance(gathered, memories, settlement)
    return settlement


def fuller(one: SpanFacts, other: SpanFacts) -> SpanFacts:
    """Of two records of the same span the one that says more; the same whichever came first."""

    def weight(facts: SpanFacts) -> tuple[bool, int, int, bool, str]:
        usage = facts.call.usage if facts.call is not None else None
        return facts.call is not None, usage.total if usage else -1, facts.end_ns, bool(facts.tenant), repr(facts)

    return max(one, other, key=weight)


def _assemble(gathered: Gathered, memory: TraceMemory, settlement: Settlement) -> tuple[Trace, int]:
    """The trace as known now; of spans that came twice the copies are tallied. Also how many LLM spans arrived."""
    trace = Trace(facts={facts.span_id: facts for facts in memory.facts}, links={**memory.links, **gathered.links})
    accounted = set(memory.rows)
    arrived = 0
    for arrival in gathered.arrivals:
        if arrival.row in accounted:
            continue
        facts = arrival.facts
        arrived += facts.call is not None
        known = trace.facts.get(facts.span_id)
        if known is None:
            trace.facts[facts.span_id] = facts
            continue
        recorded = memory.outcomes.get(facts.span_id)
        kept = known if recorded is not None and recorded.outcome in FINAL else fuller(known, facts)
        dropped = facts if kept is known else known
        if recorded is not None and dropped is known:
            # The outcome in the books was tallied with the old counts; the span is decided anew with the new ones.
            settlement.tally(recorded.outcome, recorded.reason, Tally.of(known).negative())
            settlement.tally(recorded.outcome, recorded.reason, Tally.of(kept))
        if dropped.call is not None and kept.call is not None:
            settlement.tally(Outcome.DUPLICATE, Reason.RESENT, Tally.of(dropped))
        trace.facts[facts.span_id] = kept
    return trace, arrived


def _bill(
    decided: Sequence[tuple[bytes, list[Decision]]], ledger: Ledger, settlement: Settlement, *, rules: Rules
) -> None:
    """Check decisions against all calls billed so far, in this round or before; record what became of each."""
    known = dict(ledger.billed_tokens(rules.events.source, _event_ids(decided, rules)))
    billed_now: set[str] = set()
    parked: list[tuple[bytes, Decision]] = []
    for trace_id, decisions in decided:
        outcomes = settlement.memories[trace_id].outcomes
        for decision in decisions:
            before = outcomes.get(decision.span.span_id)
            if before is not None and before.outcome in FINAL:
                continue
            if decision.outcome is Outcome.PARKED and decision.identity:
                parked.append((trace_id, decision))
                continue
            if decision.outcome is Outcome.BILLED:
                decision = _against(decision, known, settlement, rules=rules)  # noqa: PLW2901
                billed_now.add(decision.identity)
            _record(trace_id, decision, before, settlement)
    for trace_id, decision in parked:
        before = settlement.memories[trace_id].outcomes.get(decision.span.span_id)
        if any(event_id in known for event_id in _ids(decision, rules)):
            decision = replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE)  # noqa: PLW2901
        _record(trace_id, decision, before, settlement)
    _release_parked(billed_now, ledger, settlement)


def _against(decision: Decision, known: dict[str, int], settlement: Settlement, *, rules: Rules) -> Decision:
    """The decision, given the tokens of all events that exist: billed, a duplicate, or billed under its span's name."""
    made = events(decision, rules.events)
    there = {event_id: known[event_id] for event_id in _ids(decision, rules) if event_id in known}
    if there:
        if there == {event.id: event.tokens for event in made}:
            return replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE)
        own = span_identity(decision.span)
        if own == decision.identity:
            return replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.RESENT)
        return _against(
            replace(decision, identity=own, reason=Reason.RESPONSE_CONFLICT), known, settlement, rules=rules
        )
    _add_events(made, known, settlement)
    return decision


def _add_events(made: Sequence[UsageEvent], known: dict[str, int], settlement: Settlement) -> None:
    for event in made:
        known[event.id] = event.tokens
        settlement.events.append(event)
        settlement.bodies.append(msgspec.json.encode(event.cloudevent()))


def _record(trace_id: bytes, decision: Decision, before: Recorded | None, settlement: Settlement) -> None:
    """Write the outcome into the trace's memory and move its tally there from where it was before."""
    span_id = decision.span.span_id
    after = Recorded(outcome=decision.outcome, reason=decision.reason, identity=decision.identity)
    settlement.memories[trace_id].outcomes[span_id] = after
    amount = Tally.of(decision.span)
    if before is not None:
        settlement.tally(before.outcome, before.reason, amount.negative())
        if before.outcome in HELD and after.outcome not in HELD:
            settlement.released.append((trace_id, span_id))
    settlement.tally(after.outcome, after.reason, amount)
    if after.outcome in HELD:
        settlement.held.append(decision)


def _release_parked(billed_now: set[str], ledger: Ledger, settlement: Settlement) -> None:
    """Spans parked earlier, in other traces, that record a call billed now: they are duplicates."""
    for trace_id, span_id in ledger.parked_with(billed_now):
        memory = settlement.memories.get(trace_id) or ledger.memories([trace_id]).get(trace_id)
        if memory is None or memory.outcomes[span_id].outcome is not Outcome.PARKED:
            continue
        before = memory.outcomes[span_id]
        amount = Tally.of(next(facts for facts in memory.facts if facts.span_id == span_id))
        memory.outcomes[span_id] = replace(before, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE)
        settlement.memories[trace_id] = memory
        settlement.released.append((trace_id, span_id))
        settlement.tally(before.outcome, before.reason, amount.negative())
        settlement.tally(Outcome.DUPLICATE, Reason.SAME_RESPONSE, amount)


def _event_ids(decided: Sequence[tuple[bytes, list[Decision]]], rules: Rules) -> set[str]:
    return {
        event_id
        for _, decisions in decided
        for decision in decisions
        if decision.identity
        for event_id in (*_ids(decision, rules), *_ids(replace(decision, identity=span_identity(decision.span)), rules))
    }


def _ids(decision: Decision, rules: Rules) -> list[str]:
    return [f"{decision.identity}-{token_class.value}" for token_class in rules.events.classes]


def _llm_spans(gathered: Gathered, memory: TraceMemory) -> int:
    accounted = set(memory.rows)
    return sum(arrival.facts.call is not None for arrival in gathered.arrivals if arrival.row not in accounted)


def _balance(gathered: Mapping[bytes, Gathered], memories: Mapping[bytes, TraceMemory], settlement: Settlement) -> None:
    """Received = sum of outcomes, in spans and in tokens."""
    received = Tally()
    for trace_id, new in gathered.items():
        accounted = set(memories[trace_id].rows) if trace_id in memories else set()
        for arrival in new.arrivals:
            if arrival.row not in accounted and arrival.facts.call is not None:
                received = received.plus(Tally.of(arrival.facts))
    accounted_for = Tally()
    for amount in settlement.tallies.values():
        accounted_for = accounted_for.plus(amount)
    assert received == accounted_for, f"books do not balance: received {received}, accounted for {accounted_for}"
