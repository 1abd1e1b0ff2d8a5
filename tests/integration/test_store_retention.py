"""Room on disk, and what is let go of."""

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.errors import OverloadedError
from spanmeter.ledger.report import usage_rows
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.store.retention import Retention
from spanmeter.store.space import Space
from spanmeter.testing.clock import ManualClock
from tests.integration.books import QUIET_S, Plant
from tests.spans import facts

DAY_NS = 86_400 * 10**9


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    plant.close()


def prune(plant: Plant) -> None:
    retention = Retention(plant.database, body_ns=35 * DAY_NS, ledger_ns=800 * DAY_NS)
    while retention.step(plant.clock.now_ns()):
        pass


def deliver(plant: Plant) -> None:
    outbox = SqliteOutbox(plant.database)
    outbox.ack([event.seq for event in outbox.lease(100, 10**6)], at_ns=plant.clock.now_ns())


class TestRetention:
    def test_bodies_go_first_and_the_ledger_stays(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S + 1)
        deliver(plant)
        plant.clock.advance(34 * 86_400)
        prune(plant)
        assert all(plant.bodies())
        plant.clock.advance(2 * 86_400)
        prune(plant)
        assert plant.bodies() == [b"", b""]
        assert [row.tokens for row in usage_rows(plant.database)] == [10, 5]

    def test_a_pruned_event_still_guards_against_billing_twice(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S + 1)
        deliver(plant)
        plant.clock.advance(100 * 86_400)
        prune(plant)
        plant.run(120)  # the trace's memory goes
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S + 1)
        assert [row.events for row in usage_rows(plant.database)] == [1, 1]

    def test_the_ledger_goes_in_the_end(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S + 1)
        deliver(plant)
        plant.clock.advance(801 * 86_400)
        prune(plant)
        assert usage_rows(plant.database) == []

    def test_what_waits_is_kept_whole(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S + 1)
        plant.clock.advance(10_000 * 86_400)
        prune(plant)
        assert len(SqliteOutbox(plant.database).lease(100, 10**6)) == 2
        assert all(plant.bodies())


Usage = namedtuple("Usage", "total used free")


class TestSpace:
    def test_refuses_below_the_limit_and_recovers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        free = 300
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 0, free))
        clock = ManualClock()
        space = Space(tmp_path, min_free_bytes=200, max_bytes=0, clock=clock)
        space.check()
        free = 100
        space.check()  # looked a moment ago
        clock.advance(1)
        with pytest.raises(OverloadedError, match="free on the disk"):
            space.check()
        free = 300
        clock.advance(1)
        space.check()

    def test_the_folders_own_limit(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(3 * 2**20))
        clock = ManualClock()
        Space(tmp_path, min_free_bytes=0, max_bytes=4 * 2**20, clock=clock).check()
        with pytest.raises(OverloadedError, match="takes 3 MiB, 2 are allowed"):
            Space(tmp_path, min_free_bytes=0, max_bytes=2 * 2**20, clock=clock).check()
