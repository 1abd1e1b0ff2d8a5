"""Plain calls: billed without a question, one at a time, and nearly all that there are.

A call is plain if it is the only one of a trace that was never decided before, has measured counts and a tenant, and
nothing can join it to a call of another trace. What becomes of it is then known beforehand: it is billed, for itself.
So it stays packed: no facts are made of it, and what its shape says is found out once for all calls of that shape.

This asks for less than the rules of `decision` do, and never answers otherwise: a call of which it is not certain is
left to them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from spanmeter.usage.attribution import Attribution, attribute
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.decision import Decision, DecisionRules
from spanmeter.usage.identity import identity_of_span, is_specific, is_usual, looks_made, response_identity
from spanmeter.usage.likeness import Look, are_unlike, readings, seen_by
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.packing import Arrival, Counts, Row, unpacked
from spanmeter.usage.trace import Trace, is_call

_new = tuple.__new__


class PlainCall(NamedTuple):
    """A call with its shape and row, who pays, its identity, and all that came of its trace. `found_above` says where
    the tenant was found, unless it is the call's own."""

    shape: SpanFacts
    row: Row
    tenant: str
    identity: str
    arrivals: Sequence[Arrival]
    links: Mapping[bytes, bytes]
    found_above: Attribution | None = None

    @property
    def trace_id(self) -> bytes:
        return self.row[1]

    @property
    def span_id(self) -> bytes:
        return self.row[2]

    @property
    def counts(self) -> Counts:
        counts = self.row[9]
        assert counts is not None
        return counts

    def facts(self) -> SpanFacts:
        return unpacked(self.shape, self.row)

    def decision(self) -> Decision:
        span = self.facts()
        return Decision(
            span=span,
            outcome=Outcome.BILLED,
            reason=Reason.OWN_CALL,
            attribution=self.found_above or attribute(span, Trace()),
            identity=self.identity,
        )


class PlainShapes:
    """Which shapes a plain call can have, each looked at once in a round of decisions."""

    def __init__(self, rules: DecisionRules) -> None:
        self._rules = rules
        self._known: dict[int, bool] = {}  # by the shape's `id`: a round holds on to its shapes

    def call_of(self, arrivals: Sequence[Arrival], links: Mapping[bytes, bytes]) -> PlainCall | None:
        """The only call of a trace if it is plain as far as its own trace tells. Without identity, if the response id
        could be another call's identity."""
        known = self._known
        if len(arrivals) == 1:
            _, shape, row = arrivals[0]
        else:
            calls = [arrival for arrival in arrivals if arrival[1].call is not None]
            if len(calls) != 1 or len({row[2] for _, _, row in arrivals}) < len(arrivals):
                return None
            [(_, shape, row)] = calls
        is_plain = known.get(id(shape))
        if is_plain is None:
            is_plain = known[id(shape)] = self._can_be_plain(shape)
        if not is_plain or row[9] is None:
            return None
        response_id = row[8]
        if is_usual(response_id):
            identity = response_id
        elif not is_specific(response_id):
            identity = identity_of_span(row[1], row[2])
        elif looks_made(response_id):
            return None
        else:
            identity = response_identity(response_id)
        tenant = shape.credential_tenant or row[7]  # the first that `attribute` asks
        if tenant:
            return _new(PlainCall, (shape, row, tenant, identity, arrivals, links, None))
        trace = Trace(facts={row[2]: unpacked(shape, row) for _, shape, row in arrivals}, links=dict(links))
        found = attribute(trace.facts[row[2]], trace, default_subject=self._rules.default_subject)
        return PlainCall(shape, row, found.tenant, identity, arrivals, links, found) if found.tenant else None

    def _can_be_plain(self, shape: SpanFacts) -> bool:
        call = shape.call
        return (
            call is not None
            and is_call(shape)
            and not call.carried_on
            and (self._rules.bill_estimates or not call.estimated)
        )


def kinds_of(calls: Iterable[PlainCall]) -> dict[tuple[int, bool], PlainCall]:
    """One call of each shape (by its `id`), with and without a response id: who recorded a call depends on no more."""
    return {(id(call[0]), call[1][8] != ""): call for call in calls}


def unlike_others(calls: Sequence[PlainCall], others: Sequence[Look]) -> list[bool]:
    """For each of `calls`, whether no rule joins it to another of them or of `others`."""
    own_ids = [call[1][8] for call in calls]
    ids = [*own_ids, *[look[2] for look in others]]
    seers = {*[_look_of(call)[:2] for call in kinds_of(calls).values()], *[look[:2] for look in others]}
    unlike = are_unlike(ids, seers, lambda: [*map(_look_of, calls), *others])
    response_ids = set(ids)
    # An identity of another form could be what another call bears as its response id.
    return [
        is_unlike and (call[3] == own_id or call[3] not in response_ids)
        for call, own_id, is_unlike in zip(calls, own_ids, unlike, strict=False)
    ]


def _look_of(call: PlainCall) -> Look:
    fresh, cache_read, cache_write, output, reasoning = call.counts
    told = readings(fresh + cache_read + cache_write, output + reasoning, reasoning)
    return call.shape.service, seen_by(call.shape, call.row[8]), call.row[8], told
