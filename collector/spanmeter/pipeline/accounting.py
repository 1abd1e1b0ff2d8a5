"""From decided traces to one settlement: what is billed, what is held for a person, and books that balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.ledger import Billed, Ledger, Recorded, Settlement, Tally, TraceMemory
from spanmeter.usage.call import SpanFacts, TokenClass
from spanmeter.usage.decision import Decision, DecisionRules, decide
from spanmeter.usage.event import EventRules, events
from spanmeter.usage.grouping import Key, key_of
from spanmeter.usage.identity import span_identity
from spanmeter.usage.outcome import Outcome, Reason
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
    decisions: DecisionRules = DecisionRules()


def settle_traces(
    gathered: Mapping[bytes, Gathered], ledger: Ledger, *, rules: Rules, recent: RecentCalls | None = None
) -> Settlement:
    """Decide traces together with what is remembered of them, and account for every span that arrived.

    Spans of journal rows that a trace's memory has accounted for already are passed over, so that a row may be read
    again after a restart. Nothing is stored: that is the ledger's `settle`. Raises AssertionError if received spans and
    outcomes would not balance: better to stop than to lose money in silence.
    """
    settlement = Settlement()
    memories = ledger.memories(gathered.keys())
    traces: dict[bytes, Trace] = {}
    for trace_id in sorted(gathered):
        memory = memories.get(trace_id, TraceMemory())
        trace = traces[trace_id] = _assemble(gathered[trace_id], memory, settlement)
        rows = sorted({*memory.rows, *(arrival.row for arrival in gathered[trace_id].arrivals)})
        settlement.memories[trace_id] = TraceMemory(
            facts=list(trace.facts.values()),
            links=trace.links,
            outcomes=dict(memory.outcomes),
            rows=rows,
            version=memory.version,
        )
    _Round(ledger, settlement, rules).decide(traces, recent)
    _balance(gathered, memories, settlement)
    return settlement


def settle_review(changes: Sequence[tuple[Decision, Decision]], ledger: Ledger, *, rules: Rules) -> Settlement:
    """Account for (decision on a held span, a person's decision on it); what is billed by now becomes a duplicate."""
    settlement = Settlement()
    round_ = _Round(ledger, settlement, rules)
    for held, _ in changes:
        round_.remember(held)
    round_.bill([decision for _, decision in changes])
    total = Tally()
    for amount in settlement.tallies.values():
        total = total.plus(amount)
    assert total == Tally(), f"books do not balance: {total} too much"
    return settlement


def fuller(one: SpanFacts, other: SpanFacts) -> SpanFacts:
    """Of two records of the same span the one that says more; the same whichever came first."""

    def weight(facts: SpanFacts) -> tuple[bool, int, int, bool, str]:
        usage = facts.call.usage if facts.call is not None else None
        return facts.call is not None, usage.total if usage else -1, facts.end_ns, bool(facts.tenant), repr(facts)

    return max(one, other, key=weight)


def _assemble(gathered: Gathered, memory: TraceMemory, settlement: Settlement) -> Trace:
    """The trace as known now; of spans that came twice the copies are tallied."""
    trace = Trace(facts={facts.span_id: facts for facts in memory.facts}, links={**memory.links, **gathered.links})
    accounted = set(memory.rows)
    for arrival in gathered.arrivals:
        if arrival.row in accounted:
            continue
        facts = arrival.facts
        known = trace.facts.get(facts.span_id)
        if known is None:
            trace.facts[facts.span_id] = facts
            continue
        recorded = memory.outcomes.get(facts.span_id)
        kept = known if recorded is not None and recorded.is_final else fuller(known, facts)
        dropped = facts if kept is known else known
        if recorded is not None and dropped is known:
            # The outcome in the books was tallied with the old counts; the span is decided anew with the new ones.
            settlement.tally(recorded.outcome, recorded.reason, Tally.of(known).negative())
            settlement.tally(recorded.outcome, recorded.reason, Tally.of(kept))
        if dropped.call is not None and kept.call is not None:
            settlement.tally(Outcome.DUPLICATE, Reason.RESENT, Tally.of(dropped))
        trace.facts[facts.span_id] = kept
    return trace


class _Round:
    """One round of decisions, checked against all calls billed so far."""

    def __init__(self, ledger: Ledger, settlement: Settlement, rules: Rules) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._rules = rules
        self._known: dict[str, Billed] = {}
        self._older: Mapping[Key, Recorded] = {}

    def decide(self, traces: Mapping[bytes, Trace], recent: RecentCalls | None) -> None:
        if recent is not None:
            spans = (span for trace in traces.values() for span in trace.calls())
            older = {key: twin for key, twin in recent.twins(spans).items() if key[0] not in traces}
            self._older = {key: recorded for key, (_, recorded) in older.items()}
        else:
            older = {}
        recorded = {
            (trace_id, span_id): was
            for trace_id, memory in self._settlement.memories.items()
            for span_id, was in memory.outcomes.items()
        }
        recorded.update(self._older)
        billed = {key: was.identity for key, was in recorded.items() if was.outcome is Outcome.BILLED}
        twins = [span for span, _ in older.values()]
        self.bill(decide(traces, billed=billed, rules=self._rules.decisions, older=twins))

    def _load(self, trace_id: bytes) -> TraceMemory | None:
        """The memory of a trace of an earlier round, to be changed and stored again."""
        memory = self._settlement.memories.get(trace_id) or self._ledger.memories([trace_id]).get(trace_id)
        if memory is not None:
            self._settlement.memories[trace_id] = memory
        return memory

    def remember(self, held: Decision) -> None:
        """Load the trace of a held span; where it is forgotten already, the span alone is put in its place."""
        span = held.span
        if self._load(span.trace_id) is None:
            self._settlement.memories[span.trace_id] = TraceMemory()
        memory = self._settlement.memories[span.trace_id]
        if span.span_id not in memory.outcomes:
            memory.facts.append(span)
            memory.outcomes[span.span_id] = Recorded(outcome=held.outcome, reason=held.reason, identity=held.identity)

    def bill(self, decisions: Sequence[Decision]) -> None:
        """Bill what is new first, then see which parked spans record a call that is billed."""
        self._known = dict(self._ledger.billed(self._rules.events.source, self._event_ids(decisions)))
        billed_now: set[str] = set()
        waiting = []
        for decision in decisions:
            before = self._recorded(decision)
            if before is not None and before.is_final:
                continue
            if decision.outcome in (Outcome.PARKED, Outcome.ESTIMATED) and decision.identity:
                waiting.append(decision)
                continue
            if decision.outcome is Outcome.BILLED:
                decision = self._against_known(decision)  # noqa: PLW2901
                if decision.outcome is Outcome.BILLED:
                    billed_now.add(decision.identity)
            self._record(decision)
        for decision in waiting:
            if any(event_id in self._known for event_id in self._ids(decision)):
                decision = replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE)  # noqa: PLW2901
            self._record(decision)
        self._release_parked(billed_now)

    def _against_known(self, decision: Decision) -> Decision:
        """The decision, given all events that exist: billed, a duplicate, or, where one instrumentation reports other
        counts under the same response id, billed under its span's name."""
        made = events(decision, self._rules.events)
        there = {event_id: self._known[event_id] for event_id in self._ids(decision) if event_id in self._known}
        if there:
            same_counts = _sides(there) == (decision.usage.all_input, decision.usage.all_output)
            if same_counts or any(was.scope != decision.span.scope for was in there.values()):
                return replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE)
            own = span_identity(decision.span)
            if own == decision.identity:
                return replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.RESENT)
            return self._against_known(replace(decision, identity=own, reason=Reason.RESPONSE_CONFLICT))
        for event in made:
            self._known[event.id] = Billed(tokens=event.tokens, scope=event.scope)
            self._settlement.events.append(event)
            self._settlement.bodies.append(msgspec.json.encode(event.cloudevent()))
        return decision

    def _recorded(self, decision: Decision) -> Recorded | None:
        memory = self._settlement.memories.get(decision.span.trace_id)
        if memory is None:
            return self._older.get(key_of(decision.span))
        return memory.outcomes.get(decision.span.span_id)

    def _record(self, decision: Decision) -> None:
        """Write the outcome into the trace's memory and move its tally there from where it was before."""
        span = decision.span
        after = Recorded(outcome=decision.outcome, reason=decision.reason, identity=decision.identity)
        if self._recorded(decision) == after:
            return
        memory = self._load(span.trace_id)
        before = memory.outcomes.get(span.span_id) if memory is not None else None
        if memory is None or (before is not None and before.is_final):
            return  # an older call that is forgotten by now, or that a person has decided on meanwhile
        settlement = self._settlement
        settlement.decisions.append(decision)
        memory.outcomes[span.span_id] = after
        amount = Tally.of(span)
        if before is not None:
            settlement.tally(before.outcome, before.reason, amount.negative())
            if before.outcome in HELD and after.outcome not in HELD:
                settlement.released.append((span.trace_id, span.span_id))
        settlement.tally(after.outcome, after.reason, amount)
        if after.outcome in HELD:
            settlement.held.append(decision)

    def _release_parked(self, billed_now: set[str]) -> None:
        """Spans held earlier, in other traces, that record a call billed now: they are duplicates."""
        for held in self._ledger.parked_with(billed_now):
            self.remember(held)
            before = self._recorded(held)
            if before is not None and before.outcome in (Outcome.PARKED, Outcome.ESTIMATED):
                self._record(replace(held, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE))

    def _event_ids(self, decisions: Sequence[Decision]) -> set[str]:
        return {
            event_id
            for decision in decisions
            if decision.identity
            for name in (decision.identity, span_identity(decision.span))
            for event_id in self._ids(replace(decision, identity=name))
        }

    def _ids(self, decision: Decision) -> list[str]:
        """Of every class, also those that are not billed apart now: the setting may have been another."""
        return [f"{decision.identity}-{token_class.value}" for token_class in TokenClass]


def _sides(billed: Mapping[str, Billed]) -> tuple[int, int]:
    """Input and output tokens of a call's events, whatever classes they were billed in."""
    sides = [0, 0]
    for event_id, was in billed.items():
        sides[event_id.rpartition("-")[2] in (TokenClass.OUTPUT, TokenClass.REASONING)] += was.tokens
    return sides[0], sides[1]


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
