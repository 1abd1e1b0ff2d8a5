"""From decided traces to one settlement: what is billed, what is held for a person, and books that balance."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from spanmeter.pipeline.balance import Received, Sums, check_balance
from spanmeter.pipeline.gathered import NOTHING_REMEMBERED, assembled
from spanmeter.pipeline.gathered import Gathered as Gathered  # noqa: PLC0414 - it is what is settled
from spanmeter.pipeline.plain import bill, told_apart, without_twins
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.ledger import Billed, FurtherName, Ledger, Recorded, Settlement, TraceMemory
from spanmeter.store.memory import memory_of
from spanmeter.usage.call import Key, SpanFacts, TokenClass, key_of
from spanmeter.usage.decision import Decision, DecisionRules, decide
from spanmeter.usage.event import EventRules, UsageEvent, events
from spanmeter.usage.identity import span_identity
from spanmeter.usage.likeness import Look, look_of, may_be_twins
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.plain import PlainCall, PlainShapes
from spanmeter.usage.trace import Trace, is_call

HELD = frozenset({Outcome.PARKED, Outcome.UNMETERED, Outcome.ESTIMATED, Outcome.INVALID})


# Looked up once: in Python 3.11 an enum's member costs a call of a function, and these stand in the innermost loop.
_BILLED = Outcome.BILLED
_DUPLICATE = Outcome.DUPLICATE
_WAITING = frozenset({Outcome.PARKED, Outcome.ESTIMATED})

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decisions depend on besides the spans."""

    events: EventRules = EventRules()
    decisions: DecisionRules = DecisionRules()


def settle_traces(
    gathered: Mapping[bytes, Gathered],
    ledger: Ledger,
    *,
    rules: Rules,
    recent: RecentCalls | None = None,
    oldest_row: int = 0,
    presume_new: bool = False,
) -> Settlement:
    """Decide traces together with what is remembered of them, and account for every span that arrived.

    Spans of journal rows that a trace's memory has accounted for already are passed over, so that a row may be read
    again after a restart; rows before `oldest_row` are gone, and need not be remembered. With `presume_new` the books
    are not asked about plain calls and their traces: they refuse the settlement where they have them. Nothing is
    stored: that is the ledger's `settle`. Raises AssertionError if received spans and outcomes would not balance:
    better to stop than to lose money in silence.
    """
    settlement = Settlement()
    round_ = _Round(ledger, settlement, rules)
    call_of = PlainShapes(rules.decisions).call_of
    calls = {trace_id: call_of(new.arrivals, new.links) for trace_id, new in gathered.items()}
    memories = ledger.memories([one for one, call in calls.items() if call is None or not presume_new])
    plain: list[PlainCall] = []
    for trace_id, call in calls.items():
        if call is not None and trace_id not in memories:
            plain.append(call)
        else:
            round_.open(trace_id, gathered[trace_id], memories.get(trace_id), oldest_row=oldest_row)
    if recent is not None:
        plain, entangled = without_twins(plain, recent)
        round_.open_all(entangled, gathered)
        round_.look_back(recent)
    plain, entangled = told_apart(plain, round_.looks(), ledger, source=rules.events.source, presume_new=presume_new)
    round_.open_all(entangled, gathered)
    bill(plain, settlement, rules.events)
    round_.decide()
    check_balance(_newly_arrived(gathered, memories), settlement)
    return settlement


def settle_review(changes: Sequence[tuple[Decision, Decision]], ledger: Ledger, *, rules: Rules) -> Settlement:
    """Account for (decision on a held span, a person's decision on it); what is billed by now becomes a duplicate."""
    settlement = Settlement()
    round_ = _Round(ledger, settlement, rules)
    for held, _ in changes:
        round_.remember(held)
    round_.bill([decision for _, decision in changes])
    check_balance((), settlement)
    return settlement


class _Round:
    """One round of decisions, checked against all calls billed so far."""

    def __init__(self, ledger: Ledger, settlement: Settlement, rules: Rules) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._rules = rules
        self._known: dict[str, Mapping[str, Billed | UsageEvent]] = {}  # by a call's names, and event id
        self._sums = Sums()
        self._traces: dict[bytes, Trace] = {}
        self._before: dict[Key, Recorded] = {}  # what earlier decisions on these traces came to
        self._elsewhere: Mapping[Key, str] = {}  # duplicates of calls billed for a span out of sight
        self._older: Mapping[Key, Recorded] = {}
        self._older_calls: list[SpanFacts] = []
        self._older_traces: Mapping[bytes, Trace] = {}

    def open(self, trace_id: bytes, new: Gathered, memory: TraceMemory | None, *, oldest_row: int = 0) -> None:
        """Take a trace into the round, with what is remembered of it."""
        trace = self._traces[trace_id] = assembled(new, memory, self._settlement)
        memory = memory or NOTHING_REMEMBERED
        rows = {seq for seq, *_ in new.arrivals}.union(seq for seq in memory.rows if seq >= oldest_row)
        self._before.update(((trace_id, span_id), was) for span_id, was in memory.outcomes.items())
        self._settlement.memories[trace_id] = TraceMemory(
            facts=list(trace.facts.values()),
            links=trace.links,
            outcomes=dict(memory.outcomes),
            rows=sorted(rows),
            version=memory.version,
        )

    def open_all(self, calls: Iterable[PlainCall], gathered: Mapping[bytes, Gathered]) -> None:
        """Take calls into the round that are not plain after all."""
        for call in calls:
            self.open(call.trace_id, gathered[call.trace_id], None)

    def look_back(self, recent: RecentCalls) -> None:
        """Take calls into the round that were decided a short while ago and may be the same as some of these."""
        twins, self._older_traces = self._twins(recent)
        self._older = {key: was for key, (_, was) in twins.items()}
        self._older_calls = [span for span, _ in twins.values()]

    def looks(self) -> list[Look]:
        """Of all that was recognised in the round: sums too may bear the response id of a call."""
        own = [span for trace in self._traces.values() for span in trace.facts.values() if span.call is not None]
        return [*map(look_of, own), *map(look_of, self._older_calls)]

    def decide(self) -> None:
        """Decide all traces in the round."""
        if not self._traces:
            return
        before = {**self._older, **self._before}
        in_sight = {was.identity for was in before.values() if was.outcome is not _DUPLICATE} | {""}
        found = {key: was.identity for key, was in before.items() if was.identity not in in_sight}
        self._look_up(found.values())
        self._elsewhere = {key: identity for key, identity in found.items() if identity in self._known}
        billed = {key: was.identity for key, was in before.items() if was.outcome is _BILLED}
        self.bill(
            decide(
                self._traces,
                billed={**billed, **self._elsewhere},
                found=found,
                rules=self._rules.decisions,
                older=self._older_calls,
                older_traces=self._older_traces,
                older_identities={key: was.identity for key, was in self._older.items() if was.identity},
            )
        )

    def _twins(self, recent: RecentCalls) -> tuple[Mapping[Key, tuple[SpanFacts, Recorded]], Mapping[bytes, Trace]]:
        """Calls of other traces, decided a short while ago, that could be one of these seen by another
        instrumentation, with their records; and those traces, which may say whose they are. With them come the other
        records of the same calls: two of one instrumentation are never one call."""
        traces = self._traces
        like: dict[Key, list[SpanFacts]] = {}
        for span, key in recent.twins(span for trace in traces.values() for span in trace.calls_of_models()):
            if key[0] not in traces:
                like.setdefault(key, []).append(span)
        if not like:
            return {}, {}
        found: dict[Key, tuple[SpanFacts, Recorded]] = {}
        others: dict[Key, tuple[SpanFacts, Recorded]] = {}
        their_traces = {}
        for trace_id, memory in self._ledger.memories({trace_id for trace_id, _ in like}).items():
            for facts in memory.facts:
                key, was = (trace_id, facts.span_id), memory.outcomes.get(facts.span_id)
                if was is None or not is_call(facts):
                    continue
                is_twin = any(may_be_twins(facts, span) for span in like.get(key, ()))
                (found if is_twin else others)[key] = facts, was
            their_traces[trace_id] = Trace(facts={one.span_id: one for one in memory.facts}, links=memory.links)
        calls = {was.identity for _, was in found.values()} - {""}
        found |= {key: (facts, was) for key, (facts, was) in others.items() if was.identity in calls}
        return found, their_traces

    def _load(self, trace_id: bytes) -> TraceMemory | None:
        """The memory of a trace of an earlier round, to be changed and stored again."""
        plain = self._settlement.plain.get(trace_id)
        memory = self._settlement.memories.get(trace_id) or (
            memory_of(plain) if plain is not None else self._ledger.memories([trace_id]).get(trace_id)
        )
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
        asked = [one.names for one in decisions if one.identity and one.outcome is not _DUPLICATE]
        self._look_up(itertools.chain.from_iterable(asked))
        billed_now: set[str] = set()
        named: list[tuple[str, Sequence[str]]] = []
        waiting = []
        for decision in decisions:
            before = self._recorded(decision)
            if before is not None and (before.is_final or key_of(decision.span) in self._elsewhere):
                named.append((decision.identity, decision.names))
                continue
            outcome = decision.outcome
            if outcome in _WAITING and decision.identity:
                waiting.append(decision)
                continue
            if outcome is _BILLED:
                names = decision.names
                decision = self._against_known(decision)  # noqa: PLW2901
                named.append((decision.identity, names))
                if decision.outcome is _BILLED:
                    billed_now.update(decision.names)
            self._record(decision, before)
        for decision in waiting:
            name = next((name for name in decision.names if name in self._known), None)
            if name is not None:
                duplicate = replace(decision, identity=name, outcome=_DUPLICATE, reason=Reason.SAME_RESPONSE)
                decision = duplicate  # noqa: PLW2901
            self._record(decision, self._recorded(decision))
        self._release_parked(billed_now.union(self._file(named)))
        self._sums.move_to(self._settlement)

    def _look_up(self, names: Iterable[str]) -> None:
        """Learn which of these calls have events, of whatever class: the setting may have been another."""
        for name, there in self._ledger.billed(self._rules.events.source, set(names) - self._known.keys()).items():
            self._known[name] = there

    def _file(self, named: Iterable[tuple[str, Sequence[str]]]) -> set[str]:
        """Calls that are in the books have these names, too: those that no other call has there. The new ones."""
        new = {
            name: identity
            for identity, names in named
            for name in names
            if identity in self._known and name not in self._known
        }
        if new:
            for call in self._settlement.plain.values():
                new.pop(call.identity, None)
        source = self._rules.events.source
        self._settlement.further += [FurtherName(source, name, identity) for name, identity in new.items()]
        return {*new}

    def _against_known(self, decision: Decision) -> Decision:
        """The decision, given all events that exist: billed, a duplicate under whichever of its names, or, where one
        instrumentation reports other counts under the same response id, billed under its span's name."""
        counts = decision.usage.all_input, decision.usage.all_output
        for name, scope in ((decision.identity, decision.span.scope), *decision.also):
            there = self._known.get(name)
            if there is None:
                continue
            if not there or _sides(there) == counts or any(was.scope != scope for was in there.values()):
                return replace(decision, identity=name, outcome=_DUPLICATE, reason=Reason.SAME_RESPONSE)
        if decision.identity in self._known:
            own = span_identity(decision.span)
            if own == decision.identity:
                return replace(decision, outcome=Outcome.DUPLICATE, reason=Reason.RESENT)
            self._look_up([own])
            return self._against_known(replace(decision, identity=own, reason=Reason.RESPONSE_CONFLICT))
        made = events(decision, self._rules.events)
        if made:
            self._known[decision.identity] = {event.id: event for event in made}
        self._settlement.events += made
        self._settlement.bodies += [_encode(event.cloudevent()) for event in made]
        return decision

    def _recorded(self, decision: Decision) -> Recorded | None:
        memory = self._settlement.memories.get(decision.span.trace_id)
        if memory is None:
            return self._older.get(key_of(decision.span))
        return memory.outcomes.get(decision.span.span_id)

    def _record(self, decision: Decision, before: Recorded | None) -> None:
        """Write the outcome into the trace's memory and move its tally there from where it was before."""
        span = decision.span
        after = Recorded(outcome=decision.outcome, reason=decision.reason, identity=decision.identity)
        if before == after:
            return
        memory = self._load(span.trace_id)
        before = memory.outcomes.get(span.span_id) if memory is not None else None
        if memory is None or (before is not None and before.is_final):
            return  # an older call that is forgotten by now, or that a person has decided on meanwhile
        settlement = self._settlement
        settlement.decisions.append(decision)
        memory.outcomes[span.span_id] = after
        if before is not None:
            self._sums.add(before.outcome, before.reason, span, -1)
            if before.outcome in HELD and after.outcome not in HELD:
                settlement.released.append((span.trace_id, span.span_id))
        self._sums.add(after.outcome, after.reason, span, 1)
        if after.outcome in HELD:
            settlement.held.append(decision)

    def _release_parked(self, billed_now: set[str]) -> None:
        """Spans held earlier, in other traces, that record a call billed now: they are duplicates."""
        for held in self._ledger.parked_with(billed_now):
            self.remember(held)
            before = self._recorded(held)
            if before is not None and before.outcome in _WAITING:
                self._record(replace(held, outcome=Outcome.DUPLICATE, reason=Reason.SAME_RESPONSE), before)


def _sides(billed: Mapping[str, Billed | UsageEvent]) -> tuple[int, int]:
    """Input and output tokens of a call's events, whatever classes they were billed in."""
    sides = [0, 0]
    for event_id, was in billed.items():
        sides[event_id.rpartition("-")[2] in (TokenClass.OUTPUT, TokenClass.REASONING)] += was.tokens
    return sides[0], sides[1]


def _newly_arrived(gathered: Mapping[bytes, Gathered], memories: Mapping[bytes, TraceMemory]) -> list[Received]:
    """The spans that no earlier round accounted for."""
    found = [
        (shape, row[9])
        for trace_id, new in gathered.items()
        if trace_id not in memories
        for _, shape, row in new.arrivals
    ]
    for trace_id, memory in memories.items():
        accounted = set(memory.rows)
        found += [(shape, row[9]) for seq, shape, row in gathered[trace_id].arrivals if seq not in accounted]
    return found
