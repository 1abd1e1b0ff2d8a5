"""Plain calls (see `usage.plain`) of a round of decisions: told apart from the others, and billed.

The text of an event is the same for all calls of a shape but for id, subject, time and tokens. So it is encoded once,
as any event is, and cut there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress
from operator import itemgetter, not_
from typing import NamedTuple

import msgspec

from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.ledger import Ledger, Settlement, Tally
from spanmeter.usage.attribution import Attribution
from spanmeter.usage.call import SpanFacts, TokenClass, Usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import EventRules, UsageEvent, event_id, events, part_classes, rfc3339
from spanmeter.usage.grouping import Look, call_of
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.packing import Counts
from spanmeter.usage.plain import PlainCall, unlike_others

_encode = msgspec.json.Encoder().encode
_new = tuple.__new__
_by_start = itemgetter(5, 1, 2)  # of a row: start, trace, span


class EventForm(NamedTuple):
    """The events of one token class for the calls of one shape. `tokens_of` picks its counts; `pieces` are the text
    around id, subject, time and tokens; `like` is such an event, and `about` its data without type and tokens."""

    tokens_of: Callable[[Counts], tuple[int, ...]]
    pieces: tuple[str, str, str, str, str]
    like: UsageEvent
    about: dict[str, object]


def event_forms(shape: SpanFacts, rules: EventRules) -> list[EventForm]:
    """One for each class that is billed."""
    whole = Usage(input=1, cache_read=1, cache_write=1, output=1, reasoning=1)
    decision = Decision(
        span=replace(shape, call=replace(call_of(shape), usage=whole)),
        outcome=Outcome.BILLED,
        reason=Reason.OWN_CALL,
        attribution=Attribution(tenant="anybody"),
    )
    gap = msgspec.Raw(b"\0")  # which no JSON has in it
    forms = []
    for event in events(decision, rules):
        text = {**event.cloudevent(), "id": gap, "subject": gap, "time": gap, "data": {**event.data, "tokens": gap}}
        before_id, before_subject, before_time, before_tokens, end = _encode(text).decode().split("\0")
        pieces = (
            f'{before_id}"',
            f'{event_id("", event.token_class)}"{before_subject}',
            f'{before_time}"',
            f'"{before_tokens}',
            end,
        )
        about = {name: value for name, value in event.data.items() if name not in ("type", "tokens")}
        forms.append(EventForm(_picking(event.token_class, rules), pieces, event, about))
    return forms


def _picking(token_class: TokenClass, rules: EventRules) -> Callable[[Counts], tuple[int, ...]]:
    first, *rest = [at for at, billed_as in enumerate(part_classes(rules.classes)) if billed_as is token_class]
    return itemgetter(first, *rest) if rest else itemgetter(slice(first, first + 1))


def told_apart(
    calls: Sequence[PlainCall], others: Iterable[Look], ledger: Ledger, *, source: str
) -> tuple[list[PlainCall], list[PlainCall]]:
    """Those that are plain indeed, and those that share something with another one, with `others` or with the books."""
    unlike = unlike_others(calls, others)
    apart, entangled = list(compress(calls, unlike)), list(compress(calls, map(not_, unlike)))
    identities = {call.identity for call in apart}
    known = {found.rpartition("-")[0] for found in ledger.billed(source, identities)}
    known.update(held.identity for held in ledger.parked_with(identities))
    if known:
        entangled += [call for call in apart if call.identity in known]
        apart = [call for call in apart if call.identity not in known]
    return apart, entangled


def without_twins(calls: Sequence[PlainCall], recent: RecentCalls) -> tuple[list[PlainCall], list[PlainCall]]:
    """Those of which no other instrumentation has seen anything alike lately, and the rest."""
    has_others: dict[int, bool] = {}  # by the shape's `id`
    apart: list[PlainCall] = []
    entangled: list[PlainCall] = []
    for call in calls:
        shape = call.shape
        if id(shape) not in has_others:
            has_others[id(shape)] = recent.has_others(shape)
        has_twin = has_others[id(shape)] and any(True for _ in recent.twins([call.facts()]))
        (entangled if has_twin else apart).append(call)
    return apart, entangled


def bill(calls: Iterable[PlainCall], settlement: Settlement, rules: EventRules) -> None:
    """Each is billed by itself."""
    known: dict[int, list[EventForm]] = {}  # by the shape's `id`
    subjects: dict[str, str] = {}
    made, bodies = settlement.events, settlement.bodies
    spans = input_tokens = output_tokens = 0
    for call in sorted(calls, key=lambda call: _by_start(call.row)):
        shape, row, tenant, identity, *_ = call
        forms = known.get(id(shape))
        if forms is None:
            forms = known[id(shape)] = event_forms(shape, rules)
        subject = subjects.get(tenant)
        if subject is None:
            subject = subjects[tenant] = _encode(tenant).decode()
        end_ns, counts = row[6], row[9]
        assert counts is not None
        time = rfc3339(end_ns)
        for tokens_of, (before_id, before_subject, before_time, before_tokens, end), like, about in forms:
            tokens = sum(tokens_of(counts))
            if not tokens:
                continue
            text = f"{before_id}{identity}{before_subject}{subject}{before_time}{time}{before_tokens}{tokens}{end}"
            bodies.append(text.encode())
            _, source, type_, _, _, token_class, _, model, provider, scope, data = like
            made.append(
                _new(
                    UsageEvent,
                    (
                        *(event_id(identity, token_class), source, type_, tenant, end_ns, token_class, tokens),
                        *(model, provider, scope, {"type": data["type"], "tokens": tokens, **about}),
                    ),
                )
            )
            if token_class in _OUTPUT:
                output_tokens += tokens
            else:
                input_tokens += tokens
        spans += 1
        settlement.plain[row[1]] = call
    if spans:
        amount = Tally(spans=spans, input_tokens=input_tokens, output_tokens=output_tokens)
        settlement.tally(Outcome.BILLED, Reason.OWN_CALL, amount)


_OUTPUT = frozenset({TokenClass.OUTPUT, TokenClass.REASONING})
