"""Processes with different settings on one data folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from spanmeter.ledger.status import read_status
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal, encoded
from spanmeter.store.lock import FileLock
from spanmeter.testing.clock import ManualClock
from spanmeter.worker import PRUNE_EVERY_S, Worker
from tests.spans import entry, facts

HOLD = """
import pathlib, sys
from spanmeter.store.lock import FileLock
lock = FileLock(pathlib.Path(sys.argv[1]) / "deliverer.lock", shared=True)
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(tmp_path)


def test_who_has_no_service_steps_back_for_who_has_one(tmp_path: Path, database: Database) -> None:
    worker = Worker(load({"SPANMETER_DATA_DIR": str(tmp_path)}), database)
    assert worker._is_mine()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "True\n"
        assert not worker._is_mine()
        assert not FileLock(tmp_path / "worker.lock").held
        other.stdin.close()
        assert other.wait(10) == 0
    assert worker._is_mine()
    worker.stop(close=False, timeout_s=1)
    database.close()


def test_two_that_have_a_service_share_the_mark(tmp_path: Path, database: Database) -> None:
    settings = load({"SPANMETER_DATA_DIR": str(tmp_path), "SPANMETER_ENDPOINT": "http://127.0.0.1:9/api/v1/events"})
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "True\n"
        worker = Worker(settings, database)
        assert worker._is_mine()
        worker.stop(close=False, timeout_s=1)
        other.stdin.close()
    database.close()


def test_what_a_process_of_an_earlier_version_goes_on_to_journal_is_decided(tmp_path: Path, database: Database) -> None:
    """It writes into the books, where rows have lower numbers than those that were read already."""
    clock = ManualClock()
    worker = Worker(load({"SPANMETER_DATA_DIR": str(tmp_path)}), database, clock=clock)
    SqliteJournal(database).append([entry(facts(1, tenant="acme"), received_ns=clock.now_ns())])

    def step() -> None:
        for _ in range(3):
            clock.advance(PRUNE_EVERY_S + 1)
            while worker._step():
                pass

    step()
    assert read_status(database).received.llm_spans == 1
    for number in (2, 3):
        with database.transaction() as transaction:
            transaction.execute("journal_append", clock.now_ns(), encoded([facts(number, tenant="bolt")]), b"")
            transaction.execute("received_add", 1, 1, 1, 10, 5, 0)
        assert read_status(database).undecided.spans == 1
        step()
    status = read_status(database)
    assert (status.received.llm_spans, status.undecided.spans, status.balanced) == (3, 0, True)
    assert SqliteJournal(database).depth() == 0
    worker.stop(close=False, timeout_s=1)
    database.close()
