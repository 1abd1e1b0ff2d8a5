"""Ledger's docstring, line by line, on every implementation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spanmeter.errors import ConflictError
from spanmeter.store.ledger import Billed, FurtherName, Recorded, Settlement, Tally, TraceMemory
from spanmeter.usage.call import TokenClass
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import UsageEvent
from spanmeter.usage.outcome import Outcome, Reason
from tests.contract.ledgers import RIGS, Rig
from tests.spans import NOW_NS, SPECIFIC_ID, carrier, facts, llm_call, span_id, trace_id

BILLED = (Outcome.BILLED, Reason.OWN_CALL)
PARKED = (Outcome.PARKED, Reason.NO_TENANT)


@pytest.fixture(params=RIGS, ids=lambda factory: factory.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    factory: Callable[[Path], Rig] = request.param
    rig = factory(tmp_path)
    yield rig
    rig.close()


def event(event_id: str, *, tokens: int = 1, source: str = "spanmeter") -> UsageEvent:
    return UsageEvent(
        id=event_id,
        source=source,
        type="kong.llm_request",
        subject="acme",
        time_ns=NOW_NS,
        token_class=TokenClass.INPUT,
        tokens=tokens,
        model="m",
        provider="p",
        scope="test",
        data={},
    )


def settle(rig: Rig, settlement: Settlement, *, now_ns: int = NOW_NS) -> None:
    rig.ledger.settle(settlement, now_ns=now_ns, deliver=True)


def parked(number: int, *, trace: int = 1, identity: str = SPECIFIC_ID) -> Decision:
    return Decision(span=facts(number, trace=trace), outcome=Outcome.PARKED, reason=Reason.NO_TENANT, identity=identity)


def full_memory() -> TraceMemory:
    return TraceMemory(
        facts=[facts(1, call=llm_call(response_id="x"), dimensions=(("tier", "gold"),)), carrier(2, "acme", parent=1)],
        links={span_id(3): span_id(1), span_id(4): b""},
        outcomes={span_id(1): Recorded(outcome=Outcome.BILLED, reason=Reason.OWN_CALL, identity=SPECIFIC_ID)},
        rows=[1, 2, 7],
    )


def test_empty_books(rig: Rig) -> None:
    assert dict(rig.ledger.memories([trace_id(1)])) == {}
    assert dict(rig.ledger.billed("spanmeter", ["a"])) == {}
    assert dict(rig.ledger.billed("spanmeter", [])) == {}
    assert list(rig.ledger.recent_memories(since_ns=0)) == []
    assert list(rig.ledger.parked_with([SPECIFIC_ID])) == []
    assert list(rig.ledger.parked_with([])) == []


def test_what_was_billed(rig: Rig) -> None:
    made = [
        event("a-input", tokens=1),
        event("b-cache_read", tokens=2),
        event("b-output", tokens=3),
        event("c-d-input"),
    ]
    settle(rig, Settlement(events=made, bodies=[b"a1", b"b1", b"b2", b"c1"]))
    settle(rig, Settlement(events=[event("a-input", tokens=5, source="other")], bodies=[b"other"]))
    rig.restart()
    assert rig.bodies() == [b"a1", b"b1", b"b2", b"c1", b"other"]
    assert dict(rig.ledger.billed("spanmeter", ["a", "b", "c", "d"])) == {
        "a": {"a-input": Billed(tokens=1, scope="test")},
        "b": {"b-cache_read": Billed(tokens=2, scope="test"), "b-output": Billed(tokens=3, scope="test")},
    }
    assert dict(rig.ledger.billed("other", ["a", "b"])) == {"a": {"a-input": Billed(tokens=5, scope="test")}}


def test_a_call_is_known_by_all_its_names(rig: Rig) -> None:
    made = Settlement(events=[event("a-input"), event("b-input")], bodies=[b"a", b"b"])
    made.further = [FurtherName("spanmeter", "x", "a"), FurtherName("spanmeter", "y", "a")]
    settle(rig, made)
    settle(rig, Settlement(further=[FurtherName("spanmeter", "z", "b")]))
    rig.restart()
    of_a, of_b = ({f"{one}-input": Billed(tokens=1, scope="test")} for one in "ab")
    assert dict(rig.ledger.billed("spanmeter", "abxyz")) == {"a": of_a, "b": of_b, "x": of_a, "y": of_a, "z": of_b}
    assert dict(rig.ledger.billed("other", "xyz")) == {}
    assert rig.bodies() == [b"a", b"b"]
    for late in (
        Settlement(events=[event("x-output")], bodies=[b"x"]),  # another way to bill the call
        Settlement(events=[event("c-input")], bodies=[b"c"], further=[FurtherName("spanmeter", "x", "c")]),
        Settlement(events=[event("c-input")], bodies=[b"c"], further=[FurtherName("spanmeter", "b", "c")]),
    ):
        with pytest.raises(ConflictError):
            settle(rig, late)
    assert rig.bodies() == [b"a", b"b"]


def test_an_event_that_another_made_meanwhile_changes_nothing(rig: Rig) -> None:
    settle(rig, Settlement(events=[event("b", tokens=2)], bodies=[b"b1"]))
    late = Settlement(
        events=[event("a"), event("b", tokens=9)],
        bodies=[b"a", b"b2"],
        memories={trace_id(1): TraceMemory()},
        held=[parked(1)],
    )
    late.tally(*BILLED, Tally(spans=1))
    with pytest.raises(ConflictError):
        settle(rig, late)
    rig.restart()
    assert rig.bodies() == [b"b1"]
    assert (rig.tallies(), rig.held(), dict(rig.ledger.memories([trace_id(1)]))) == ({}, set(), {})


def test_a_call_has_its_events_from_one_settlement(rig: Rig) -> None:
    settle(rig, Settlement(events=[event("a-input")], bodies=[b"a1"]))
    with pytest.raises(ConflictError):
        settle(rig, Settlement(events=[event("a-output"), event("b-output")], bodies=[b"a2", b"b"]))
    settle(rig, Settlement(events=[event("a-output", source="other")], bodies=[b"other"]))
    assert rig.bodies() == [b"a1", b"other"]


def test_a_trace_that_another_decided_meanwhile_changes_nothing(rig: Rig) -> None:
    mine, theirs = TraceMemory(rows=[1]), TraceMemory(rows=[2])
    settle(rig, Settlement(memories={trace_id(1): theirs}))
    for version in (0, 2):
        late = Settlement(events=[event("a")], bodies=[b"a"], memories={trace_id(1): replace(mine, version=version)})
        with pytest.raises(ConflictError):
            settle(rig, late)
    assert rig.bodies() == []
    stored = rig.ledger.memories([trace_id(1)])[trace_id(1)]
    assert stored == replace(theirs, version=1)
    settle(rig, Settlement(memories={trace_id(1): replace(mine, version=stored.version)}))
    assert rig.ledger.memories([trace_id(1)])[trace_id(1)] == replace(mine, version=2)


def test_more_ids_than_a_statement_has_places_for(rig: Rig) -> None:
    ids = [f"e{number}" for number in range(3000)]
    settle(rig, Settlement(events=[event(f"{one}-output") for one in ids], bodies=[b"x"] * len(ids)))
    assert len(rig.ledger.billed("spanmeter", ids)) == 3000


def test_events_and_bodies_belong_together(rig: Rig) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        settle(rig, Settlement(events=[event("a"), event("b")], bodies=[b"a"]))
    assert rig.tallies() == {}


def test_a_memory_comes_back_whole_and_is_replaced(rig: Rig) -> None:
    settle(rig, Settlement(memories={trace_id(1): full_memory(), trace_id(2): TraceMemory()}))
    rig.restart()
    asked = [trace_id(1), trace_id(2), trace_id(3)]
    assert dict(rig.ledger.memories(asked)) == {
        trace_id(1): replace(full_memory(), version=1),
        trace_id(2): TraceMemory(version=1),
    }
    settle(rig, Settlement(memories={trace_id(1): TraceMemory(rows=[9], version=1)}))
    assert rig.ledger.memories([trace_id(1)])[trace_id(1)] == TraceMemory(rows=[9], version=2)


def test_a_memory_that_was_read_is_a_copy(rig: Rig) -> None:
    settle(rig, Settlement(memories={trace_id(1): full_memory()}))
    rig.ledger.memories([trace_id(1)])[trace_id(1)].rows.append(99)
    assert rig.ledger.memories([trace_id(1)])[trace_id(1)] == replace(full_memory(), version=1)


def test_forgotten_by_the_time_of_the_last_decision(rig: Rig) -> None:
    settle(rig, Settlement(memories={trace_id(1): full_memory(), trace_id(2): full_memory()}), now_ns=100)
    settle(rig, Settlement(memories={trace_id(2): replace(full_memory(), version=1)}), now_ns=200)
    assert len(list(rig.ledger.recent_memories(since_ns=100))) == 2
    assert [memory.version for memory in rig.ledger.recent_memories(since_ns=101)] == [2]
    rig.ledger.forget(before_ns=100)
    assert set(rig.ledger.memories([trace_id(1), trace_id(2)])) == {trace_id(1), trace_id(2)}
    rig.ledger.forget(before_ns=101)
    assert set(rig.ledger.memories([trace_id(1), trace_id(2)])) == {trace_id(2)}


def test_tallies_add_up(rig: Rig) -> None:
    one = Settlement()
    one.tally(*PARKED, Tally(spans=2, input_tokens=20, output_tokens=10))
    settle(rig, one)
    two = Settlement()
    two.tally(*PARKED, Tally(spans=1, input_tokens=10, output_tokens=5).negative())
    two.tally(*BILLED, Tally(spans=1, input_tokens=10, output_tokens=5))
    settle(rig, two)
    rig.restart()
    assert rig.tallies() == {
        PARKED: Tally(spans=1, input_tokens=10, output_tokens=5),
        BILLED: Tally(spans=1, input_tokens=10, output_tokens=5),
    }


def test_held_until_released(rig: Rig) -> None:
    settle(rig, Settlement(held=[parked(1), parked(2, identity="other"), parked(1, trace=2)]))
    found = {(one.span.trace_id, one.span.span_id) for one in rig.ledger.parked_with([SPECIFIC_ID, "unknown"])}
    assert found == {(trace_id(1), span_id(1)), (trace_id(2), span_id(1))}
    settle(rig, Settlement(held=[parked(1, trace=2, identity="new")], released=[(trace_id(1), span_id(1))]))
    rig.restart()
    assert rig.held() == {(trace_id(1), span_id(2)), (trace_id(2), span_id(1))}
    assert list(rig.ledger.parked_with([SPECIFIC_ID])) == []
    assert list(rig.ledger.parked_with(["new"])) == [parked(1, trace=2, identity="new")]


def test_only_the_parked_are_parked(rig: Rig) -> None:
    unmetered = Decision(span=facts(1), outcome=Outcome.UNMETERED, reason=Reason.NO_USAGE, identity=SPECIFIC_ID)
    settle(rig, Settlement(held=[unmetered]))
    assert rig.held() == {(trace_id(1), span_id(1))}
    assert list(rig.ledger.parked_with([SPECIFIC_ID])) == []
