"""Somebody sets the wall clock: nothing is decided early or never, and nothing is forgotten that guards the bill."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.clock import CautiousClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.reply import Retry, Taken
from spanmeter.store.outbox import SqliteDeliveryLog, SqliteOutbox
from spanmeter.store.retention import Retention
from spanmeter.testing.clock import ManualClock
from tests.integration.books import MAX_S, QUIET_S, Plant
from tests.spans import carrier, facts
from tests.unit.delivery.fakes import ScriptedSender

YEAR_S = 366 * 86_400.0
DAY_NS = 86_400 * 10**9


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with closing(Plant(tmp_path / "data")) as plant:
        yield plant


@pytest.mark.parametrize("jump_s", [-YEAR_S, -3600.0, 3600.0, 3 * YEAR_S])
def test_an_open_trace_is_decided_at_its_age_not_before_and_not_later(plant: Plant, jump_s: float) -> None:
    plant.take(facts(1, parent=9))  # its parent, which names the tenant, is still to come
    plant.run(1)
    plant.clock.jump(jump_s)
    plant.run(MAX_S - 5)
    assert plant.outcomes() == {}
    plant.take(carrier(9, "acme"))
    plant.run(QUIET_S + 5)
    assert plant.outcomes() == {"billed": 1}


def test_rows_from_the_future_are_decided_after_a_restart(plant: Plant) -> None:
    plant.clock.jump(YEAR_S)
    plant.take(facts(1, tenant="acme"), facts(2, parent=9, trace=2))
    plant.clock.jump(-YEAR_S)
    plant.restart()
    plant.run(MAX_S + 1)
    assert plant.outcomes() == {"billed": 1, "parked": 1}
    plant.run(MAX_S + 1)
    assert plant.journal.depth() == 0


def test_a_leap_ahead_forgets_no_decision(plant: Plant) -> None:
    plant.take(facts(1, tenant="acme"))
    plant.run(QUIET_S + 1)
    plant.clock.jump(3 * YEAR_S)
    plant.run(120)
    assert len(plant.database.execute("memory_since", 0)) == 1
    plant.take(facts(1, tenant="acme"))
    plant.run(QUIET_S + 1)
    assert plant.outcomes() == {"billed": 1, "duplicate": 1}
    assert len(plant.bodies()) == 2


def test_a_leap_ahead_prunes_no_record_of_what_was_billed(plant: Plant) -> None:
    cautious = CautiousClock(plant.clock)
    retention = Retention(plant.database, body_ns=35 * DAY_NS, ledger_ns=800 * DAY_NS)
    plant.take(facts(1, tenant="acme"))
    plant.run(QUIET_S + 1)
    outbox = SqliteOutbox(plant.database)
    outbox.ack([event.seq for event in outbox.lease(9, 9999)], at_ns=plant.clock.now_ns())
    plant.clock.jump(3 * YEAR_S)
    while retention.step(cautious.now_ns()):
        pass
    assert all(plant.bodies())
    plant.clock.advance(36 * 86_400)
    while retention.step(cautious.now_ns()):
        pass
    assert plant.bodies() == [b"", b""]


@pytest.mark.parametrize("jump_s", [-YEAR_S, YEAR_S])
def test_delivery_waits_by_the_monotonic_clock(plant: Plant, jump_s: float) -> None:
    plant.take(facts(1, tenant="acme"))
    plant.run(QUIET_S + 1)
    outbox = SqliteOutbox(plant.database)
    sender = ScriptedSender([Retry(reason="HTTP 503", after_s=30.0), Taken()])
    courier = Courier(
        outbox,
        sender,
        log=SqliteDeliveryLog(plant.database),
        clock=plant.clock,
        random=lambda: 0.0,
        pace=Pace(interval_s=0.0),
        spawn=at_once,
    )
    assert courier.step() == 30.0
    plant.clock.jump(jump_s)
    assert courier.step() == 30.0
    plant.clock.advance(30.0)
    courier.step()
    assert outbox.depth() == 0


def test_the_cautious_clock() -> None:
    clock = ManualClock()
    begun_ns = clock.now_ns()
    cautious = CautiousClock(clock)
    clock.jump(1000)
    assert cautious.now_ns() == begun_ns
    clock.advance(10)
    assert cautious.now_ns() == begun_ns + 10 * 10**9
    clock.jump(-2000)
    assert cautious.now_ns() == clock.now_ns()
