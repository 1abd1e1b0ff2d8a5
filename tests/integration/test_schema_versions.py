"""A database of every earlier schema goes on without loss. `schema_1.sql` is what the first version that had one wrote
(SQLite's dump): five calls billed, of their events two sent and one refused, a call parked, another not yet decided."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.store import database as database_module
from spanmeter.store.correction import SqliteCorrectionBook
from spanmeter.store.database import FILE_NAME, Database, migrations
from spanmeter.store.events import write_events
from spanmeter.store.ledger import SqliteLedger
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.testing.clock import ManualClock
from tests.integration.books import MAX_S, Plant
from tests.integration.events import usage_event
from tests.spans import carrier, facts

ALL = migrations()
FIRST = Path(__file__).with_name("schema_1.sql")
EVENT = "seq, id, source, subject, time_ns, token_class, tokens, model, provider, scope, made_ns, body"
"""A table once, a view now."""
REWRITTEN = {"trace"}
"""Tables that a migration brought into another form: their rows are counted."""


@pytest.mark.parametrize("version", range(1, len(ALL)))
def test_a_file_of_each_earlier_schema_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.executescript(FIRST.read_text())
    known = _content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(database_module, "migrations", lambda: ALL[:version])
        Database.open(folder).close()
    clock = ManualClock()
    clock.advance(MAX_S + 1)  # the dump was made then
    with closing(Plant(folder, clock=clock)) as plant:
        assert _version(folder) == len(ALL)
        after = _content(folder)
        for table in known:
            if table in REWRITTEN:
                assert len(after[table]) == len(known[table])
            else:
                assert after[table] == known[table]
        plant.take(facts(1, trace=1, tenant="acme"), carrier(9, "acme", trace=6))  # once more; late
        plant.run(MAX_S + 1)
        assert plant.outcomes() == {"billed": 7, "duplicate": 1}
        outbox = SqliteOutbox(plant.database)
        waiting = [event.seq for event in outbox.lease(100, 10**6)]
        assert len(waiting) == 2 * 7 - 3
        outbox.ack(waiting, at_ns=9)
        assert outbox.depth() == 0
        assert len(plant.bodies()) == 14


CALLS = (
    "a-input",
    "a-output",
    "b-cache_read",
    "b-reasoning",
    "c-input",
    "a-cache_write",
    "a-input-correction-1",
    "odd",
)
"""Ids of events in a row. That one call has another further down is what a change of the classes' setting made once."""


def test_events_of_a_call_are_brought_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(database_module, "migrations", lambda: ALL[:4])
        Database.open(folder).close()
    rows = [(id_, source, id_ + source) for source in ("s", "t") for id_ in CALLS]
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.executemany(
            "INSERT INTO event (id, source, subject, time_ns, token_class, tokens, model, provider, scope, made_ns, "
            "body) VALUES (?, ?, 'acme', 1, 'input', 5, 'm', 'p', 'i', 1, ?)",
            [(id_, source, body.encode()) for id_, source, body in rows],
        )
        connection.execute("INSERT INTO sent SELECT seq, 2 FROM event")
        connection.execute("INSERT INTO correction VALUES (7, 1, 1, 'why')")
    with closing(Database.open(folder)) as database:
        found = {(row[1], row[2], row[-1]) for row in _content(folder)["event"]}
        assert found == {(id_, source, body.encode()) for id_, source, body in rows}
        ledger, book = SqliteLedger(database), SqliteCorrectionBook(database)
        found_events = ledger.billed("s", ["a", "b", "c", "odd"]).values()
        assert {event_id for events in found_events for event_id in events} == {*CALLS[:5]}
        assert [len(book.find(id_)) for id_ in CALLS] == [2] * len(CALLS)
        assert [row.id for row in book.all()] == ["a-input-correction-1"]
        assert book.find("a-input")[0].corrections == 1
        with database.transaction() as transaction:
            for id_ in CALLS:
                again = usage_event(1, source="s")._replace(id=id_)
                assert write_events(transaction, [again], [b""], now_ns=1, deliver=True) is None
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Rows by table, but for those that any start may write."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
            for table in tables
            if table != "fact" and not table.startswith("sqlite_")
        } | {"event": sorted(connection.execute(f"SELECT {EVENT} FROM event"), key=repr)}


def _version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version
