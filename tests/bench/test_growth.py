"""The growth bench makes folders of the size that it says."""

from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.ledger.report import usage_rows
from spanmeter.ledger.status import read_status
from spanmeter.store.database import Database
from tests.bench import growth
from tests.bench.growth import fill


def test_a_ledger_grows_to_the_size_that_was_asked_for(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        for before, size in ((0, 1), (1, 100), (100, 2_000)):
            fill(database, "ledger", before, size)
            assert sum(row.events for row in usage_rows(database)) == size
        assert len({row.tenant for row in usage_rows(database)}) == 1_000


def test_traces_stay_open_and_the_books_balance(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        for before, size in ((0, 1), (1, 1_500)):
            fill(database, "pending", before, size)
            status = read_status(database)
            assert size <= status.undecided.spans < size + 512
            assert status.balanced


def test_tenants_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "EVENTS_OF_TENANTS", 2_000)
    with closing(Database.open(tmp_path)) as database:
        for before, size, events in ((0, 1, 2_002), (1, 300, 2_602)):
            fill(database, "tenants", before, size)
            rows = usage_rows(database)
            assert len({row.tenant for row in rows}) == size
            assert sum(row.events for row in rows) == events
