"""What SQLite adds to the ledger's contract: one transaction, the outbox, the table of what is held."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from spanmeter.errors import StoreBusyError, StoreError
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import Settlement, SqliteLedger, Tally, TraceMemory
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.usage.call import TokenClass
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import UsageEvent
from spanmeter.usage.outcome import Outcome, Reason
from tests.spans import NOW_NS, entry, facts, trace_id

EVENT = UsageEvent(
    id="a",
    source="spanmeter",
    type="kong.llm_request",
    subject="acme",
    time_ns=NOW_NS,
    token_class=TokenClass.INPUT,
    tokens=3,
    model="m",
    provider="p",
    scope="test",
    data={},
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(tmp_path)) as database:
        yield database


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with closing(sqlite3.connect(database.path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def everything(row: int) -> Settlement:
    settlement = Settlement(
        events=[EVENT],
        bodies=[b"{}"],
        held=[Decision(span=facts(1), outcome=Outcome.PARKED, reason=Reason.NO_TENANT, identity="x")],
        memories={trace_id(1): TraceMemory(rows=[row])},
    )
    settlement.tally(Outcome.BILLED, Reason.OWN_CALL, Tally(spans=1, input_tokens=3))
    return settlement


def test_all_or_nothing(database: Database) -> None:
    SqliteJournal(database).append([entry(facts(1))])
    before = contents(database)
    for broken in (
        {"events": [EVENT._replace(subject="")]},
        {"memories": {b"short": TraceMemory()}},
        {"memories": {b"x" * 15: TraceMemory()}},
    ):
        settlement = everything(1)
        for name, value in broken.items():
            setattr(settlement, name, value)
        with pytest.raises(StoreError):
            SqliteLedger(database).settle(settlement, now_ns=NOW_NS, deliver=True)
        assert contents(database) == before
    SqliteLedger(database).settle(everything(1), now_ns=NOW_NS, deliver=True)
    after = contents(database)
    changed = {name for name in after if after[name] != before[name]} - {"sqlite_sequence"}
    indexes = {"call_young", "trace_young"}
    assert changed == {"about", "call", "part", "outbox", "held", "outcome", "trace", "round", "usage_day"} | indexes


@pytest.mark.parametrize("deliver", [True, False])
def test_new_events_go_to_the_outbox_or_stay(database: Database, deliver: bool) -> None:
    ledger, outbox = SqliteLedger(database), SqliteOutbox(database)
    for event_id in ("a", "b"):
        ledger.settle(
            Settlement(events=[EVENT._replace(id=event_id)], bodies=[event_id.encode()]), now_ns=NOW_NS, deliver=deliver
        )
    assert [pending.body for pending in outbox.lease(9, 999)] == ([b"a", b"b"] if deliver else [])
    assert database.execute("local_depth")[0][0] == (0 if deliver else 2)


def test_an_event_that_was_sent_is_not_sent_again(database: Database) -> None:
    ledger, outbox = SqliteLedger(database), SqliteOutbox(database)
    settlement = Settlement(events=[EVENT], bodies=[b"a"])
    ledger.settle(settlement, now_ns=NOW_NS, deliver=True)
    outbox.ack([pending.seq for pending in outbox.lease(9, 999)], at_ns=NOW_NS)
    with pytest.raises(StoreBusyError):
        ledger.settle(settlement, now_ns=NOW_NS, deliver=True)
    assert outbox.depth() == 0


def test_the_journal_counts_what_was_received(database: Database) -> None:
    journal = SqliteJournal(database)
    journal.append([entry(facts(1), facts(2, call=None, tenant="a"), rejected=3, others=4), entry(rejected=1)])
    assert journal.received() == (2, 10, 1, 10, 5, 4)
    with pytest.raises(StoreError):
        journal.append([entry(facts(1)), replace(entry(facts(1)), links=b"short")])
    assert journal.received() == (2, 10, 1, 10, 5, 4)
    assert journal.depth() == 1
