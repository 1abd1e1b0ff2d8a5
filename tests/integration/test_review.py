"""A person's decisions on parked calls, beside a collector that goes on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.errors import StoreBusyError, UsageError
from spanmeter.ledger.status import read_status
from spanmeter.ledger.unmetered import unmetered_rows
from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.review import Review, Selection
from spanmeter.store.ledger import Settlement, SqliteLedger
from spanmeter.usage.outcome import Outcome
from tests.integration.books import MAX_S, MEMORY_S, QUIET_S, Plant
from tests.spans import SPECIFIC_ID, carrier, facts, llm_call, span_id, trace_id


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    assert read_status(plant.database).balanced
    plant.close()


def review(plant: Plant) -> Review:
    return Review(SqliteLedger(plant.database), rules=Rules(), clock=plant.clock, deliver=True)


def subjects(plant: Plant) -> list[tuple[str, str, int]]:
    events = [json.loads(body) for body in plant.bodies()]
    return sorted((event["subject"], event["time"][:19], event["data"]["tokens"]) for event in events)


def test_assigning_one_call_bills_it_with_its_own_time(plant: Plant) -> None:
    plant.take(facts(1), facts(1, trace=2))
    plant.run(QUIET_S + 1)
    [decision] = review(plant).assign(Selection(trace_id=trace_id(1).hex()), "acme")
    assert decision.outcome is Outcome.BILLED
    assert subjects(plant) == [("acme", "2026-01-01T00:00:02", 5), ("acme", "2026-01-01T00:00:02", 10)]
    assert plant.held() == {(trace_id(2), span_id(1))}
    assert plant.outcomes() == {"billed": 1, "parked": 1}


def test_assigning_by_a_property(plant: Plant) -> None:
    plant.take(facts(1, hints=(("session.id", "s-1"),)), facts(1, trace=2, hints=(("session.id", "s-2"),)))
    plant.run(QUIET_S + 1)
    assert len(review(plant).assign(Selection(where=(("session.id", "s-1"), ("model", "gpt-4o-mini"))), "acme")) == 1
    assert review(plant).assign(Selection(where=(("session.id", "s-9"),)), "acme") == []
    assert plant.held() == {(trace_id(2), span_id(1))}


def test_nothing_named_is_refused() -> None:
    with pytest.raises(UsageError, match="which calls"):
        Selection()


def test_an_assigned_call_stays_assigned(plant: Plant) -> None:
    plant.take(facts(2, parent=1))
    plant.run(MAX_S + 1)
    review(plant).assign(Selection(everything=True), "acme")
    plant.take(carrier(1, "globex"))  # its root comes late, and names somebody else
    plant.run(MAX_S + 1)
    assert {subject for subject, _, _ in subjects(plant)} == {"acme"}


def test_discarding(plant: Plant) -> None:
    plant.take(facts(1))
    plant.run(QUIET_S + 1)
    review(plant).discard(Selection(everything=True))
    assert plant.outcomes() == {"ignored": 1}
    plant.take(facts(1))
    plant.run(MAX_S + 1)
    assert plant.outcomes() == {"ignored": 1, "duplicate": 1}
    assert plant.bodies() == []


def test_accepting_a_guess(plant: Plant) -> None:
    plant.take(facts(1, tenant="acme", call=llm_call(estimated=True)), facts(1, trace=2, call=llm_call(estimated=True)))
    plant.run(QUIET_S + 1)
    assert plant.outcomes() == {"estimated": 2}
    review(plant).accept(Selection(everything=True))
    assert plant.outcomes() == {"billed": 1, "estimated": 1}
    assert all(json.loads(body)["data"]["estimated"] for body in plant.bodies())


def test_a_call_billed_meanwhile_is_a_duplicate(plant: Plant) -> None:
    plant.take(facts(1, call=llm_call(response_id=SPECIFIC_ID)))
    plant.run(QUIET_S + 1)
    held = review(plant).select(Selection(everything=True))
    plant.take(facts(1, trace=2, tenant="acme", scope="other", call=llm_call(response_id=SPECIFIC_ID)))
    plant.run(QUIET_S + 1)
    assert len(held) == 1
    assert review(plant).assign(Selection(everything=True), "globex") == []
    assert plant.outcomes() == {"billed": 1, "duplicate": 1}


def test_after_the_trace_was_forgotten(plant: Plant) -> None:
    plant.take(facts(1))
    plant.run(QUIET_S + 1)
    plant.clock.advance(MEMORY_S + 120)
    plant.settle()
    assert plant.remembered() == 0
    assert len(review(plant).assign(Selection(everything=True), "acme")) == 1
    assert plant.outcomes() == {"billed": 1}


def test_who_comes_second_decides_anew(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.take(facts(1))
    plant.run(QUIET_S + 1)
    first = SqliteLedger.settle
    refused: list[int] = []

    def settle(ledger: SqliteLedger, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        if not refused:
            refused.append(1)
            raise StoreBusyError("decided meanwhile")
        first(ledger, settlement, now_ns=now_ns, deliver=deliver)

    monkeypatch.setattr(SqliteLedger, "settle", settle)
    assert len(review(plant).assign(Selection(everything=True), "acme")) == 1
    assert refused == [1]


def test_unmetered_says_what_and_how_to_mend_it(plant: Plant) -> None:
    stream = llm_call(usage=None, streamed=True)
    plant.take(
        *(facts(1, trace=n, tenant="acme", call=stream) for n in range(1, 4)),
        facts(1, trace=9, call=llm_call(usage=None)),
    )
    plant.run(QUIET_S + 1)
    most, other = unmetered_rows(SqliteLedger(plant.database))
    assert (most.calls, most.model, most.reason) == (3, "gpt-4o-mini", "stream without usage")
    assert "include_usage" in most.advice
    assert other.calls == 1
