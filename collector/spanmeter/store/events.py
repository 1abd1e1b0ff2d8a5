"""New events into the ledger: each once, under its source and id."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spanmeter.store.filing import file_keys
from spanmeter.store.keys import PLACES, call_identity, key_alone, key_of_call
from spanmeter.store.statements import MADE_AT_ONCE, Transaction
from spanmeter.usage.event import UsageEvent
from spanmeter.usage.plain import PlainCall

SPACING = len(PLACES)
"""Numbers that a call's events have, by their place: so there is one of each class at most."""
_DAY_NS = 86_400_000_000_000

PlainEvent = tuple[PlainCall, UsageEvent, int, bytes]
"""Of a call, with an event of another one that differs in what is the call's own, the tokens, and its JSON."""
_new = tuple.__new__


def plain_event(call: PlainCall, like: UsageEvent, tokens: int) -> UsageEvent:
    suffix, source, type_, _, _, token_class, _, model, provider, scope, data = like
    own = f"{call.identity}{suffix}", source, type_, call.tenant, call.row[6], token_class, tokens
    return _new(UsageEvent, (*own, model, provider, scope, {**data, "tokens": tokens}))


class _Kind(NamedTuple):
    """What is alike in the events that are like one, see `EventForm` in `spanmeter.pipeline.plain`; `days` has their
    number and tokens by day and subject."""

    place: int
    about: int
    word: str
    suffix: str
    source: str
    model: str
    days: dict[int, dict[str, list[int]]]


class _NewEvents:
    """Rows to be written: of calls, of their events, and of the sums by day."""

    def __init__(self, transaction: Transaction, *, now_ns: int) -> None:
        self._transaction = transaction
        self._now_ns = now_ns
        self.first: int = transaction.execute("call_next").fetchone()[0]
        self.next: int = self.first
        self.are_new = True
        self._numbers: dict[tuple[str, ...], int] = {}
        self._calls: list[tuple[object, ...]] = []
        self._parts: list[tuple[int, int, str, str, int, bytes]] = []
        self.sums: dict[tuple[int, str, str, str], list[int]] = {}

    def write(self) -> None:
        """What was added since the last time. They are not new if a call has two events of one class."""
        calls, parts = self._calls, self._parts
        self._transaction.execute_many("call_insert", calls)
        self.are_new &= self._transaction.execute_many("part_insert", parts) == len(parts)
        calls.clear()
        parts.clear()

    def add(self, events: Iterable[tuple[UsageEvent, bytes]]) -> None:
        seqs: dict[tuple[object, ...], int] = {}
        for event, body in events:
            event_id, source, _, subject, time_ns, token_class, tokens, model, provider, scope, _ = event
            identity = call_identity(event_id)
            key = key_alone(source, event_id) if identity is None else key_of_call(source, identity)
            named = event_id if identity is None else identity
            about = self._about(source, model, provider, scope)
            common = (key, about, subject, time_ns)
            seq = seqs.get(common)
            if seq is None:
                seq = seqs[common] = self._add_call(key, named, about, subject, time_ns)
            place = 0 if identity is None else PLACES[event_id[len(named) + 1 :]]
            self._parts.append((seq + place, seq, token_class.value, event_id[len(named) :], tokens, body))
            self._count(time_ns // _DAY_NS, subject, model, token_class.value, 1, tokens)

    def add_plain(self, events: Iterable[PlainEvent]) -> None:
        """Those of a call stand together."""
        kinds: dict[int, _Kind] = {}  # by the `id` of the event that they are like
        calls, add_part = self._calls, self._parts.append
        now_ns, next_ = self._now_ns, self.next
        last, seq, day, subject = None, 0, 0, ""
        for call, like, tokens, body in events:
            kind = kinds.get(id(like))
            if kind is None:
                kind = kinds[id(like)] = self._kind(like)
            place, about, word, suffix, source, _, days = kind
            if call is not last:
                if len(calls) == MADE_AT_ONCE:
                    self.write()
                last, subject, identity, time_ns = call, call.tenant, call.identity, call.row[6]
                day, seq = time_ns // _DAY_NS, next_
                next_ += SPACING
                calls.append((seq, key_of_call(source, identity), identity, about, subject, time_ns, now_ns))
            add_part((seq + place, seq, word, suffix, tokens, body))
            of_day = days.get(day)
            if of_day is None:
                of_day = days[day] = {}
            count = of_day.get(subject)
            if count is None:
                of_day[subject] = [1, tokens]
            else:
                count[0] += 1
                count[1] += tokens
        self.next = next_
        for kind in kinds.values():
            for day, of_day in kind.days.items():
                for subject, (number, tokens) in of_day.items():
                    self._count(day, subject, kind.model, kind.word, number, tokens)

    def _kind(self, like: UsageEvent) -> "_Kind":
        suffix, source, _, _, _, _, _, model, provider, scope, _ = like
        word = suffix[1:]
        about = self._about(source, model, provider, scope)
        return _Kind(PLACES[word], about, word, suffix, source, model, {})

    def _add_call(self, key: bytes, identity: str, about: int, subject: str, time_ns: int) -> int:
        seq, self.next = self.next, self.next + SPACING
        self._calls.append((seq, key, identity, about, subject, time_ns, self._now_ns))
        return seq

    def _count(self, day: int, subject: str, model: str, word: str, events: int, tokens: int) -> None:
        count = self.sums.setdefault((day, subject, model, word), [0, 0])
        count[0] += events
        count[1] += tokens

    def _about(self, *about: str) -> int:
        """The number of what very many calls have in common."""
        if about not in self._numbers:
            self._transaction.execute("about_insert", *about)
            [self._numbers[about]] = self._transaction.execute("about_number", *about).fetchone()
        return self._numbers[about]


def write_events(
    transaction: Transaction,
    events: Sequence[UsageEvent],
    bodies: Sequence[bytes],
    *,
    plain: Iterable[PlainEvent] = (),
    now_ns: int,
    deliver: bool,
) -> int | None:
    """Store new events with the bytes that are sent, and count them in the sums by day; the number of the first.
    `bodies` are those of `events`; `plain` ones bring theirs, and are written as they come.
    `deliver`: into the outbox, otherwise they are marked as local only.
    None, and the transaction has to be given up, if one of their calls is there already."""
    new = _NewEvents(transaction, now_ns=now_ns)
    new.add_plain(plain)
    new.add(zip(events, bodies, strict=True))
    new.write()
    made = (new.next - new.first) // SPACING
    if not new.are_new or transaction.execute("call_keys_write", new.first).rowcount != made:
        return None
    file_keys(transaction, "call", new.first // SPACING, new.next // SPACING)
    if made:
        transaction.execute("outbox_fill" if deliver else "local_fill", new.first)
        transaction.execute_many("usage_add", [(*of, *count) for of, count in new.sums.items()])
    return new.first
