"""Plain calls (see `usage.plain`) of a round of decisions: told apart from the others, and billed.

The text of an event is the same for all calls of a shape but for id, subject, time and tokens. So it is encoded once,
as any event is, and cut there.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import compress
from operator import itemgetter, not_
from typing import NamedTuple

import msgspec

from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.ledger import Ledger, PlainEvent, Settlement, Tally
from spanmeter.usage.attribution import Attribution
from spanmeter.usage.call import SpanFacts, Usage, call_of
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import EventRules, UsageEvent, events, part_classes, rfc3339
from spanmeter.usage.likeness import Look
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.plain import PlainCall, kinds_of, unlike_others

_encode = msgspec.json.Encoder().encode
_by_time = itemgetter(6, 1, 2)  # of a row: end, trace, span


class EventForm(NamedTuple):
    """The events of one token class of all calls of one shape. `first` and `rest` are the places of the counts that are
    billed in it; the others are the text around id, subject, time and tokens; `like` is such an event."""

    first: int
    rest: Sequence[int]
    before_id: str
    before_subject: str
    before_time: str
    before_tokens: str
    end: str
    like: UsageEvent


@functools.lru_cache(1_024)
def event_forms(shape: SpanFacts, rules: EventRules) -> Sequence[EventForm]:
    """One for each class that is billed. Of equal shapes made once: each small request brings one of its own."""
    whole = Usage(input=1, cache_read=1, cache_write=1, output=1, reasoning=1)
    decision = Decision(
        span=replace(shape, call=replace(call_of(shape), usage=whole)),
        outcome=Outcome.BILLED,
        reason=Reason.OWN_CALL,
        attribution=Attribution(tenant="anybody"),
    )
    gap = msgspec.Raw(b"\0")  # which no JSON has in it
    billed_in = part_classes(rules.classes)
    forms = []
    for event in events(decision, rules):
        text = {**event.cloudevent(), "id": gap, "subject": gap, "time": gap, "data": {**event.data, "tokens": gap}}
        before_id, before_subject, before_time, before_tokens, end = _encode(text).decode().split("\0")
        first, *rest = [at for at, token_class in enumerate(billed_in) if token_class is event.token_class]
        around = f'{before_id}"', f'{event.id}"{before_subject}', f'{before_time}"', f'"{before_tokens}', end
        forms.append(EventForm(first, rest, *around, event))
    billed = sorted(at for form in forms for at in (form.first, *form.rest))
    assert billed == [*range(len(billed_in))], f"counts are billed at {billed}: each has to be once"
    return forms


def told_apart(
    calls: Sequence[PlainCall], others: Sequence[Look], ledger: Ledger, *, source: str, presume_new: bool
) -> tuple[list[PlainCall], list[PlainCall]]:
    """Those that are plain indeed, and those that share something with another one, with `others` or with the books.
    With `presume_new` the books are asked only about calls without tokens: of these no event is made that they could
    refuse."""
    unlike = unlike_others(calls, others)
    apart, entangled = list(compress(calls, unlike)), list(compress(calls, map(not_, unlike)))
    identities = {call.identity for call in apart}
    asked = {call.identity for call in apart if not any(call.counts)} if presume_new else identities
    known = set(ledger.billed(source, asked))
    known.update(held.identity for held in ledger.parked_with(identities))
    if known:
        entangled += [call for call in apart if call.identity in known]
        apart = [call for call in apart if call.identity not in known]
    return apart, entangled


def without_twins(calls: Sequence[PlainCall], recent: RecentCalls) -> tuple[list[PlainCall], list[PlainCall]]:
    """Those of which no other instrumentation has seen anything alike lately, and the rest."""
    watched = {kind for kind, call in kinds_of(calls).items() if recent.has_others(call.shape, call.row[8])}
    if not watched:
        return [*calls], []
    apart: list[PlainCall] = []
    entangled: list[PlainCall] = []
    for call in calls:
        has_twin = (id(call[0]), call[1][8] != "") in watched and any(True for _ in recent.twins([call.facts()]))
        (entangled if has_twin else apart).append(call)
    return apart, entangled


class PlainEvents:
    """The events of plain calls, made anew whenever they are asked for, one at a time: those of a whole round are never
    in memory."""

    def __init__(self, calls: Sequence[PlainCall], rules: EventRules) -> None:
        self._calls = calls
        self._rules = rules

    def __iter__(self) -> Iterator[PlainEvent]:
        known: dict[int, Sequence[EventForm]] = {}  # by the shape's `id`
        subjects: dict[str, str] = {}
        for call in self._calls:
            shape, row, tenant, identity, _, _, _ = call
            forms = known.get(id(shape))
            if forms is None:
                forms = known[id(shape)] = event_forms(shape, self._rules)
            subject = subjects.get(tenant)
            if subject is None:
                subject = subjects[tenant] = _encode(tenant).decode()
            counts = row[9]
            assert counts is not None
            time = rfc3339(row[6])
            for first, rest, before_id, before_subject, before_time, before_tokens, end, like in forms:
                tokens = counts[first]
                for at in rest:
                    tokens += counts[at]
                if tokens:
                    named = f"{before_id}{identity}{before_subject}{subject}"
                    yield call, like, tokens, f"{named}{before_time}{time}{before_tokens}{tokens}{end}".encode()


def bill(calls: Iterable[PlainCall], settlement: Settlement, rules: EventRules) -> None:
    """Each is billed by itself, in the order of the events' times, in which the books have an index of them."""
    in_order = sorted(calls, key=lambda call: _by_time(call[1]))
    if not in_order:
        return
    settlement.plain = {call[1][1]: call for call in in_order}
    settlement.plain_events = PlainEvents(in_order, rules)
    fresh, cache_read, cache_write, output, reasoning = map(sum, zip(*[call.counts for call in in_order], strict=True))
    amount = Tally(spans=len(in_order), input_tokens=fresh + cache_read + cache_write, output_tokens=output + reasoning)
    settlement.tally(Outcome.BILLED, Reason.OWN_CALL, amount)
