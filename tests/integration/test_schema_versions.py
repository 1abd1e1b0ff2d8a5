"""A database made by every earlier schema goes on without loss: made by the first, brought to that version, then to the
present one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.store import database as database_module
from spanmeter.store.database import FILE_NAME, migrations
from spanmeter.store.outbox import SqliteOutbox
from tests.integration.books import MAX_S, Plant
from tests.spans import carrier, facts

ALL = migrations()


@pytest.mark.parametrize("version", range(1, len(ALL)))
def test_a_file_of_each_earlier_schema_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    folder = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(database_module, "migrations", lambda: ALL[:1])
        with closing(Plant(folder)) as plant:
            plant.take(
                *(facts(number, trace=number, tenant="acme") for number in range(1, 6)), facts(6, trace=6, parent=9)
            )
            plant.run(MAX_S + 1)
            outbox = SqliteOutbox(plant.database)
            outbox.ack([1, 2], at_ns=7)
            outbox.bury([3], status=400, reason="no", at_ns=8)
            plant.take(facts(7, trace=7, tenant="globex"))  # received, not decided
            clock = plant.clock
    known = _content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(database_module, "migrations", lambda: ALL[:version])
        Plant(folder, clock=clock).close()
    with closing(Plant(folder, clock=clock)) as plant:
        assert _version(folder) == len(ALL)
        after = _content(folder)
        assert {table: after[table] for table in known} == known
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
        }


def _version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version
