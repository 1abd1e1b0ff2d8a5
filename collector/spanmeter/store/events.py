"""New events into the ledger: each once, under its source and id."""

from collections.abc import Sequence

from spanmeter.store.database import Transaction
from spanmeter.store.keys import PLACES, call_identity, key_alone, key_of_call
from spanmeter.usage.event import UsageEvent

SPACING = len(PLACES)
"""Numbers that a call's events have, by their place: so there is one of each class at most."""
_DAY_NS = 86_400_000_000_000


def write_events(
    transaction: Transaction, events: Sequence[UsageEvent], bodies: Sequence[bytes], *, now_ns: int, deliver: bool
) -> list[int] | None:
    """Store new events with the bytes that are sent, and count them in the sums by day; their numbers. `deliver`: into
    the outbox, otherwise they are marked as local only. None, and the transaction has to be given up, if one of their
    calls is there already."""
    first: int = transaction.execute("call_next").fetchone()[0]
    following = first
    calls: dict[tuple[str, bool, tuple[str, ...], str, int], int] = {}
    numbers: dict[tuple[str, ...], int] = {}
    parts: list[tuple[object, ...]] = []
    sums: dict[tuple[int, str, str, str], list[int]] = {}
    seqs = []
    for event, body in zip(events, bodies, strict=True):
        event_id, source, _, subject, time_ns, token_class, tokens, model, provider, scope, _ = event
        identity = call_identity(event_id)
        is_alone = identity is None
        identity = event_id if identity is None else identity
        suffix = event_id[len(identity) :]
        call = (identity, is_alone, (source, model, provider, scope), subject, time_ns)
        seq = calls.get(call)
        if seq is None:
            seq = calls[call] = following
            following += SPACING
        place = 0 if is_alone else PLACES[suffix[1:]]
        seqs.append(seq + place)
        parts.append((seq + place, seq, token_class.value, suffix, tokens, body))
        day = sums.setdefault((time_ns // _DAY_NS, subject, model, token_class.value), [0, 0])
        day[0] += 1
        day[1] += tokens
    rows: list[tuple[object, ...]] = []
    for (identity, is_alone, about, subject, time_ns), seq in calls.items():
        number = numbers.get(about)
        if number is None:
            number = numbers[about] = _number(transaction, about)
        key = (key_alone if is_alone else key_of_call)(about[0], identity)
        rows.append((seq, key, identity, number, subject, time_ns, now_ns))
    if transaction.execute_many("call_insert", rows) != len(rows):
        return None
    if transaction.execute_many("part_insert", parts) != len(parts):
        return None
    if events:
        transaction.execute("outbox_fill" if deliver else "local_fill", first)
        transaction.execute_many("usage_add", [(*of, *sum_) for of, sum_ in sums.items()])
    return seqs


def _number(transaction: Transaction, about: tuple[str, ...]) -> int:
    """Of what very many calls have in common: source, model, provider, scope."""
    transaction.execute("about_insert", *about)
    number: int = transaction.execute("about_number", *about).fetchone()[0]
    return number
