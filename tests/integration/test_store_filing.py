"""Keys of calls and ids of traces move from the index of what is new into that of all, and none is lost on the way."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.errors import StoreBusyError, StoreError
from spanmeter.store import filing
from spanmeter.store.database import Database
from spanmeter.store.ledger import FurtherName, Settlement, SqliteLedger, TraceMemory
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.store.retention import Retention
from tests.integration.events import usage_event
from tests.integration.indexes import indexes
from tests.spans import NOW_NS

A_ROUND, A_SHARE = 7, 3
DAY_NS = 86_400 * 10**9


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(filing, "A_SHARE", A_SHARE)
    with closing(Database.open(tmp_path)) as database:
        yield database


def a_round(dice: random.Random) -> Settlement:
    """Calls and traces with ids as they come."""
    settlement = Settlement()
    for _ in range(A_ROUND):
        settlement.events.append(usage_event(1)._replace(id=f"{dice.randbytes(8).hex()}-input"))
        settlement.bodies.append(b"{}")
        settlement.memories[dice.randbytes(16)] = TraceMemory(rows=[1])
    return settlement


def settle(database: Database, settlement: Settlement) -> None:
    SqliteLedger(database).settle(settlement, now_ns=NOW_NS, deliver=True)


def indexed(database: Database, table: str) -> tuple[int, int]:
    """How many are in the index of what is new, and in that of all. Every row is in one of them, and nothing else."""
    rows, young, old = indexes(database.path, table)
    assert sorted([*young, *old]) == rows
    return len(young), len(old)


def settled_rounds(database: Database, number: int, *, seed: int) -> list[Settlement]:
    dice = random.Random(seed)
    rounds = [a_round(dice) for _ in range(number)]
    for settlement in rounds:
        settle(database, settlement)
    return rounds


def test_what_is_new_is_filed_in_turn(database: Database) -> None:
    rounds = settled_rounds(database, 3 * filing.FEWEST_SHARES, seed=1)
    made = len(rounds) * A_ROUND
    for of in ("call", "trace"):
        young, old = indexed(database, of)
        assert young + old == made
        assert 0 < young <= filing.FEWEST_SHARES * A_SHARE + A_ROUND  # a share is filed once in so many
    ledger = SqliteLedger(database)
    identities = [event.id.removesuffix("-input") for settlement in rounds for event in settlement.events]
    assert len(ledger.billed("spanmeter", identities)) == made
    traces = [trace_id for settlement in rounds for trace_id in settlement.memories]
    assert set(ledger.memories(traces)) == {*traces}


def test_the_more_keys_the_more_shares(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [1, 96_000, 96_001, 384_001, 1_536_001, 10**9]
    assert [filing.shares_of(number) for number in keys] == [8, 8, 16, 32, 64, 64]
    assert all(256 % filing.shares_of(number) == 0 for number in keys)
    monkeypatch.setattr(filing, "KEYS_BY_SQUARE", 1)
    rounds = settled_rounds(database, 2 * filing.MOST_SHARES, seed=7)
    made = len(rounds) * A_ROUND
    assert (filing.shares_of(A_ROUND), filing.shares_of(made)) == (8, 32)
    for of in ("call", "trace"):
        young, old = indexed(database, of)
        assert young + old == made
        assert 0 < young <= 32 * A_SHARE + A_ROUND


def test_what_was_filed_is_there_once_for_all(database: Database) -> None:
    rounds = settled_rounds(database, 2 * filing.FEWEST_SHARES, seed=2)
    before = indexed(database, "call"), indexed(database, "trace")
    for settlement in rounds:
        with pytest.raises(StoreBusyError):
            settle(database, Settlement(events=settlement.events[:1], bodies=[b"{}"]))
        with pytest.raises(StoreBusyError):
            settle(database, Settlement(memories=dict(list(settlement.memories.items())[:1])))
    assert (indexed(database, "call"), indexed(database, "trace")) == before


def test_a_key_in_both_indexes_is_never_filed_in_silence(database: Database) -> None:
    settle(database, a_round(random.Random(6)))
    with database.transaction() as transaction:
        filing.file_keys(transaction, "call", 0, filing.FEWEST_SHARES * A_SHARE)
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("INSERT INTO call_young SELECT * FROM call_old LIMIT 1")
    with pytest.raises(StoreError, match="UNIQUE"), database.transaction() as transaction:
        filing.file_keys(transaction, "call", 0, filing.FEWEST_SHARES * A_SHARE)


def test_a_memory_that_was_filed_is_replaced(database: Database) -> None:
    rounds = settled_rounds(database, filing.FEWEST_SHARES, seed=3)
    ledger = SqliteLedger(database)
    for settlement in rounds:
        known = ledger.memories(settlement.memories)
        settle(database, Settlement(memories={one: TraceMemory(rows=[2], version=1) for one in known}))
        with pytest.raises(StoreBusyError):
            settle(database, Settlement(memories={one: TraceMemory(rows=[3], version=1) for one in known}))
        assert ledger.memories(known) == {one: TraceMemory(rows=[2], version=2) for one in known}
    assert sum(indexed(database, "trace")) == len(rounds) * A_ROUND


def test_what_retention_lets_go_of_is_in_neither(database: Database) -> None:
    rounds = settled_rounds(database, filing.FEWEST_SHARES, seed=4)
    outbox = SqliteOutbox(database)
    outbox.ack([event.seq for event in outbox.lease(30, 10**6)], at_ns=NOW_NS)
    retention = Retention(database, body_ns=DAY_NS, ledger_ns=DAY_NS)
    while retention.step(NOW_NS + 2 * DAY_NS):
        pass
    while SqliteLedger(database).forget(before_ns=NOW_NS + 1):
        pass
    assert sum(indexed(database, "call")) == len(rounds) * A_ROUND - 30
    assert sum(indexed(database, "trace")) == 0


@pytest.mark.parametrize("filed", [False, True])
def test_a_further_name_outlasts_its_call(database: Database, filed: bool) -> None:
    """And keeps it from being billed again: by nothing but the name, as its events are gone."""
    ledger, outbox, event = SqliteLedger(database), SqliteOutbox(database), usage_event(1)._replace(id="a-input")
    settle(database, Settlement(events=[event], bodies=[b"{}"], further=[FurtherName(event.source, "b", "a")]))
    if filed:
        with database.transaction() as transaction:
            filing.file_keys(transaction, "call", 0, filing.FEWEST_SHARES * A_SHARE)
    outbox.ack([event.seq for event in outbox.lease(9, 10**6)], at_ns=NOW_NS)
    while Retention(database, body_ns=DAY_NS, ledger_ns=DAY_NS).step(NOW_NS + 2 * DAY_NS):
        pass
    assert dict(ledger.billed(event.source, ["a", "b"])) == {"b": {}}
    with pytest.raises(StoreBusyError):
        settle(database, Settlement(events=[event._replace(id="b-input")], bodies=[b"{}"]))
    settle(database, Settlement(events=[event], bodies=[b"{}"]))


def test_a_round_of_any_size_files_each_share_once_at_most(database: Database) -> None:
    dice = random.Random(5)
    large = Settlement()
    for _ in range(2 * filing.FEWEST_SHARES * A_SHARE):
        large.events.append(usage_event(1)._replace(id=f"{dice.randbytes(8).hex()}-input"))
        large.bodies.append(b"{}")
    settle(database, large)
    assert indexed(database, "call") == (0, len(large.events))
