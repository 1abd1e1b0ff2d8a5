"""A database of every earlier schema goes on without loss. `schema_1.sql` is what the first version that had one wrote
(SQLite's dump): five calls billed, of their events two sent and one refused, a call parked, another not yet decided."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.store import database as database_module
from spanmeter.store.database import FILE_NAME, Database, migrations
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.testing.clock import ManualClock
from tests.integration.books import MAX_S, Plant
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
