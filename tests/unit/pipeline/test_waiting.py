"""What waiting costs in memory, and how long links without facts are held."""

import random
import tracemalloc
from array import array
from collections.abc import Iterable

import pytest

from spanmeter.pipeline.waiting import LINKS_FOR, Waiting
from spanmeter.store.journal import RowTraces
from spanmeter.store.ledger import Settlement
from spanmeter.testing.clock import ManualClock
from tests.spans import SECOND_NS, entry, facts
from tests.unit.store.books import MemoryBooks, assembler_of

QUIET_NS, MAX_NS = 5 * SECOND_NS, 60 * SECOND_NS
TRACES_A_ROW, ROWS = 500, 40
TRACES = TRACES_A_ROW * ROWS


def waiting() -> Waiting:
    return Waiting(quiet_ns=QUIET_NS, max_ns=MAX_NS, parked=())


def row(seq: int, facts: Iterable[int] = (), links: Iterable[int] = ()) -> RowTraces:
    return RowTraces(seq=seq, received_ns=0, facts=array("q", facts), links=array("q", links))


def test_a_waiting_trace_takes_a_few_bytes() -> None:
    dice = random.Random(1)
    index = waiting()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for seq in range(1, ROWS + 1):
            index.add(row(seq, (dice.getrandbits(60) for _ in range(TRACES_A_ROW))), seq * SECOND_NS // 20)
        young, _ = tracemalloc.get_traced_memory()
        assert len(index.turn(60 * SECOND_NS, most=2 * TRACES, is_all=True)) == TRACES
        opened, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.open_traces == TRACES
    assert (young - before) / TRACES < 12
    assert (opened - before) / TRACES < 150


def test_a_backlog_is_not_held() -> None:
    """Requests of ten minutes lie in the journal: known are those of five seconds, and no more."""
    clock, books = ManualClock(), MemoryBooks()
    for second in range(600):
        books.append(
            [
                entry(facts(1, trace=10 * second + number + 1), received_ns=clock.now_ns() + second * SECOND_NS)
                for number in range(10)
            ]
        )
    clock.advance(700)
    assembler = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)
    most = 0
    while assembler.step():
        most = max(most, assembler.open_traces)
    assert 0 < most < 100
    assert not books.rows
    assert len(books.events) == 0 and sum(amount.spans for amount in books.tallies.values()) == 6_000


def test_traces_come_with_what_young_rows_have_of_them_if_they_are_still_open() -> None:
    index = waiting()
    index.add(row(1, [7, 8]), 0)
    assert index.turn(QUIET_NS, most=9, is_all=True) == [7, 8]
    index.add(row(2, [7, 9], links=[8]), QUIET_NS)
    index.decided([8])
    assert index.with_young(key for key in (9, 8, 7)) == [7]
    assert index.rows_of([7]) == {1: {7}, 2: {7}}


def test_links_without_facts_are_held_as_long_as_newer_ones_come_but_not_for_ever() -> None:
    index = waiting()
    for seq in range(1, 3 * LINKS_FOR + 1):
        index.add(row(seq, links=[7]), seq * MAX_NS // 2)
        now_ns = seq * MAX_NS // 2 + QUIET_NS
        index.turn(now_ns, most=9, is_all=True)
        index.last_turn(now_ns, most=9, is_all=True)
    gone = [*index.spent_rows]
    assert gone == list(range(1, len(gone) + 1))
    assert LINKS_FOR // 2 < len(gone) < 2 * LINKS_FOR
    index.removed()
    end_ns = (3 * LINKS_FOR + 3) * MAX_NS
    index.last_turn(end_ns, most=9, is_all=True)
    assert [*gone, *index.spent_rows] == list(range(1, 3 * LINKS_FOR + 1))


def test_who_looks_once_a_second_decides_a_second_s_traces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And has nothing more to do then: what became due meanwhile waits for the next look."""
    clock, books = ManualClock(), MemoryBooks()
    assembler = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)
    rounds: list[int] = []
    settle = books.settle

    def count(settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        rounds.append(len(dict(settlement.all_memories())))
        settle(settlement, now_ns=now_ns, deliver=deliver)

    monkeypatch.setattr(books, "settle", count)
    for number in range(1, 401):
        books.append([entry(facts(1, trace=number, tenant="acme"), received_ns=clock.now_ns())])
        clock.advance(0.05)
        if number % 20 == 0:
            looks = 1
            while assembler.step():
                looks += 1
            assert looks == 1
    assert rounds == [1, *[20] * 15]  # the first call is just old enough at the fifth look
