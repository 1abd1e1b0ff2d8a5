"""Events that wait in a real outbox, made directly: no receiver, no assembly."""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from spanmeter.store.database import FILE_NAME, Database
from spanmeter.store.ledger import Settlement, SqliteLedger
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent

AT_ONCE = 10_000
TENANTS = ("acme", "globex", "initech")
NOW_NS = 1_767_225_600_000_000_000


def usage_event(number: int) -> UsageEvent:
    """Different for each number, and the same each time."""
    tokens = 1 + number * 7919 % 4096
    return UsageEvent(
        id=f"call-{number}-input",
        source="spanmeter",
        type="kong.llm_request",
        subject=TENANTS[number % len(TENANTS)],
        time_ns=NOW_NS + number,
        token_class=TokenClass.INPUT,
        tokens=tokens,
        model="gpt-4o-mini",
        provider="openai",
        scope="tests.chaos",
        data={"type": "input", "tokens": tokens, "model": "gpt-4o-mini", "provider": "openai", "number": number},
    )


def body_of(event: UsageEvent, *, poisoned: bool = False) -> bytes:
    """As it is sent. A poisoned one has a null inside `data`, for which the service refuses the whole batch."""
    made = event.cloudevent()
    if poisoned:
        made["data"] = {**made["data"], "operation": None}
    return msgspec.json.encode(made)


def fill(database: Database, events: Iterable[tuple[UsageEvent, bytes]]) -> None:
    """Make them pending, in this order."""
    ledger = SqliteLedger(database)
    remaining = iter(events)
    while some := list(itertools.islice(remaining, AT_ONCE)):
        settlement = Settlement(events=[event for event, _ in some], bodies=[body for _, body in some])
        ledger.settle(settlement, now_ns=NOW_NS, deliver=True)


def dead_letters(data_dir: Path) -> Iterator[str]:
    """Their events' ids."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as connection:
        for (event_id,) in connection.execute("SELECT id FROM dead_letter JOIN event USING (seq)"):
            yield event_id
