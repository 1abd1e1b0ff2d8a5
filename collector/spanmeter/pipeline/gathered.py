"""What has come of a trace, put together with what is remembered of it."""

from dataclasses import dataclass, field

from spanmeter.store.ledger import Settlement, Tally, TraceMemory
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.packing import Arrival, unpacked
from spanmeter.usage.trace import Trace

NOTHING_REMEMBERED = TraceMemory()


@dataclass(slots=True)
class Gathered:
    """What has come of one trace since it was decided last, or at all."""

    arrivals: list[Arrival] = field(default_factory=list)
    links: dict[bytes, bytes] = field(default_factory=dict)


def fuller(one: SpanFacts, other: SpanFacts) -> SpanFacts:
    """Of two records of the same span the one that says more; the same whichever came first."""

    def weight(facts: SpanFacts) -> tuple[bool, int, int, bool, str]:
        usage = facts.call.usage if facts.call is not None else None
        return facts.call is not None, usage.total if usage else -1, facts.end_ns, bool(facts.tenant), repr(facts)

    return max(one, other, key=weight)


def assembled(gathered: Gathered, memory: TraceMemory | None, settlement: Settlement) -> Trace:
    """The trace as known now; of spans that came twice the copies are tallied."""
    if memory is None:
        facts_by_id = {row[2]: unpacked(shape, row) for _, shape, row in gathered.arrivals}
        if len(facts_by_id) == len(gathered.arrivals):
            return Trace(facts=facts_by_id, links=dict(gathered.links))
        memory = NOTHING_REMEMBERED
    trace = Trace(facts={facts.span_id: facts for facts in memory.facts}, links={**memory.links, **gathered.links})
    accounted = set(memory.rows)
    for seq, shape, row in gathered.arrivals:
        if seq in accounted:
            continue
        facts = unpacked(shape, row)
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
