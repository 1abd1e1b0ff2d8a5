"""The write-ahead log is copied into the file beside the commits."""

import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.store.checkpoints import Checkpoints
from spanmeter.store.database import JOURNAL_NAME, Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.testing.clock import ManualClock
from tests.spans import entry, facts

WAIT_S = 10.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(tmp_path / "state")) as database:
        database.journal.checkpoint()  # so that the schema is in the file
        yield database


def rows_in_file(database: Database, folder: Path) -> int:
    """In the file alone, without its log. Another process copies it: this one would give up SQLite's locks with it."""
    copy = folder / "copy.db"
    subprocess.run(["cp", str(database.journal.path), str(copy)], check=True)
    with closing(sqlite3.connect(copy)) as connection:
        count: int = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    return count


def log_bytes(database: Database) -> int:
    return database.path.with_name(f"{JOURNAL_NAME}-wal").stat().st_size


def append(database: Database, times: int) -> None:
    for number in range(times):
        SqliteJournal(database).append([entry(*[facts(100 * number + place) for place in range(1, 100)])])


def test_what_is_in_the_log_is_then_in_the_file_and_the_log_begins_anew(database: Database, tmp_path: Path) -> None:
    append(database, 20)
    assert not rows_in_file(database, tmp_path)
    database.journal.checkpoint()
    assert rows_in_file(database, tmp_path) == 20
    size = log_bytes(database)
    for _ in range(5):
        append(database, 20)
        database.journal.checkpoint()
    assert log_bytes(database) <= 1.2 * size
    assert rows_in_file(database, tmp_path) == 120


def test_who_still_reads_what_was_before_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    with closing(Database.open(database.path.parent)) as other, other.snapshot():
        assert not SqliteJournal(other).depth()
        append(database, 3)
        database.journal.checkpoint()
        append(database, 3)  # writers are not kept out
        assert not SqliteJournal(other).depth()
    database.journal.checkpoint()
    assert rows_in_file(database, tmp_path) == 6


def test_beside_writers_of_both_processes_nothing_is_lost(database: Database) -> None:
    with closing(Database.open(database.path.parent)) as other, ThreadPoolExecutor(2) as writers:
        writing = [writers.submit(append, one, 60) for one in (database, other)]
        while not all(one.done() for one in writing):
            database.journal.checkpoint()
        for one in writing:
            one.result()
        assert SqliteJournal(database).depth() == 120
    with closing(sqlite3.connect(database.journal.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_thread_goes_on_after_a_failure(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = iter([RuntimeError("once")])
    whole = database.journal.checkpoint

    def checkpoint() -> None:
        for error in failing:
            raise error
        whole()
        done.set()

    done = threading.Event()
    monkeypatch.setattr(database.journal, "checkpoint", checkpoint)
    append(database, 3)
    assert not rows_in_file(database, tmp_path)
    checkpoints = Checkpoints(database.journal, clock=ManualClock(), every_s=0.001)
    checkpoints.start()
    assert done.wait(WAIT_S)
    checkpoints.stop(WAIT_S)
    assert rows_in_file(database, tmp_path) == 3
    assert "checkpoint failed" in caplog.text
