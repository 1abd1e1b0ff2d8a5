"""The assembler, which keeps an index of the journal, decides what one decides that keeps every span: at the same time,
whatever comes in what order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.pipeline import assembler as subject
from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.store.journal import JournalRow
from spanmeter.store.ledger import Settlement, TraceMemory
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.packing import unpacked
from spanmeter.usage.trace import Trace, unpack_links
from tests.spans import SECOND_NS, arrival, carrier, entry, facts, link
from tests.unit.store.books import MemoryBooks, assembler_of

QUIET_S, MAX_S = 3, 9
QUIET_NS, MAX_NS = QUIET_S * SECOND_NS, MAX_S * SECOND_NS
LARGE_SPANS, PAUSE_A_SPAN_NS = 4, 3 * SECOND_NS  # longer than a trace waits at most


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few spans meet every bound."""
    for name, value in {
        "ROWS_AT_ONCE": 2,
        "ROWS_A_STEP": 4,
        "TRACES_AT_ONCE": 2,
        "TRACES_A_TURN": 3,
        "LARGE_SPANS": LARGE_SPANS,
        "PAUSE_A_SPAN_NS": PAUSE_A_SPAN_NS,
    }.items():
        monkeypatch.setattr(subject, name, value)


@dataclass(kw_only=True)
class _Trace:
    """Everything that came of a trace since its last decision; `first_ns` is None while these are links alone."""

    first_ns: int | None = None
    last_ns: int = 0
    gathered: Gathered = field(default_factory=Gathered)


class Naive:
    """The assembler's docstring, and nothing else: every span in memory, every trace looked at at every step."""

    def __init__(self, books: MemoryBooks, clock: ManualClock) -> None:
        self._books = books
        self._clock = clock
        self._traces: dict[bytes, _Trace] = {}
        self._paused: dict[bytes, int] = {}
        self._came_ns = 0
        self._after = 0

    def step(self) -> None:
        now_ns = round(self._clock.monotonic() * 1e9)
        for row in self._books.read(after=self._after, limit=1_000_000):
            self._after = row.seq
            self._came_ns = max(self._came_ns, now_ns - max(0, self._clock.now_ns() - row.received_ns))
            self._take(row, self._came_ns)
        due = {trace_id: trace.gathered for trace_id, trace in self._traces.items() if self._is_due(trace_id, now_ns)}
        settlement = settle_traces(due, self._books, rules=Rules())
        self._books.settle(settlement, now_ns=self._clock.now_ns(), deliver=True)
        memories = dict(settlement.all_memories())
        for trace_id in due:
            del self._traces[trace_id]
            spans = len(memories[trace_id].facts)
            if spans > LARGE_SPANS:
                self._paused[trace_id] = now_ns + spans * PAUSE_A_SPAN_NS
        for trace_id, trace in list(self._traces.items()):
            if trace.first_ns is None and now_ns >= trace.last_ns + MAX_NS:
                del self._traces[trace_id]

    def _take(self, row: JournalRow, came_ns: int) -> None:
        def trace_of(trace_id: bytes, *, opens: bool) -> _Trace:
            trace = self._traces.setdefault(trace_id, _Trace())
            trace.last_ns = came_ns
            if opens and trace.first_ns is None:
                trace.first_ns = came_ns
            return trace

        for span in row.facts:
            trace_of(span.trace_id, opens=True).gathered.arrivals.append(arrival(row.seq, span))
        for trace_id, span_id, parent in unpack_links(row.links):
            trace_of(trace_id, opens=trace_id in self._books.parked_traces()).gathered.links[span_id] = parent

    def _is_due(self, trace_id: bytes, now_ns: int) -> bool:
        trace = self._traces[trace_id]
        if trace.first_ns is None or now_ns < self._paused.get(trace_id, 0):
            return False
        return now_ns >= trace.first_ns + MAX_NS or (
            now_ns >= trace.last_ns + QUIET_NS and self._is_whole(trace_id, trace.gathered)
        )

    def _is_whole(self, trace_id: bytes, new: Gathered) -> bool:
        """By what came, or by that and what is remembered."""
        arrived = [unpacked(shape, row) for _, shape, row in new.arrivals]
        calls = [facts for facts in arrived if facts.call is not None]
        if not calls:
            return trace_id in self._books.parked_traces()
        for memory in (TraceMemory(), self._books.memories([trace_id]).get(trace_id, TraceMemory())):
            spans = {span.span_id: span for span in [*memory.facts, *arrived]}
            known = Trace(facts=spans, links={**memory.links, **new.links})
            if all(known.is_whole(call) or is_named_before_it_leaves(known, call) for call in calls):
                return True
        return False


def is_named_before_it_leaves(trace: Trace, call: SpanFacts) -> bool:
    """Whether the chain of parents, of which all are known, leads to another process, with a tenant before."""
    chain = [call, *trace.ancestors(call)]
    above = [span for span in chain if span is not None]
    return len(above) == len(chain) and above[-1].parent_is_remote is True and any(span.tenant for span in above)


def books_of(books: MemoryBooks) -> Mapping[str, object]:
    """All that a customer, an operator or a later decision can see of them."""
    memories = {
        trace_id: (sorted(map(repr, memory.facts)), memory.links, memory.outcomes)
        for trace_id, memory in books.memories(list(books.traces)).items()
    }
    tallies = {what: amount for what, amount in books.tallies.items() if amount.spans}
    return {"events": sorted(books.bodies), "tallies": tallies, "held": set(books.held), "memories": memories}


TRACES, IDS = st.integers(1, 4), st.integers(1, 6)
PARENTS = st.one_of(st.just(0), IDS)
TENANTS = st.sampled_from(("acme", "bolt"))
CALLS = st.builds(
    lambda number, trace, parent, tenant, remote: facts(
        number, trace=trace, parent=parent, tenant=tenant, parent_is_remote=remote
    ),
    IDS,
    TRACES,
    PARENTS,
    st.sampled_from(("", "", "acme")),
    st.sampled_from((None, True)),
)
CARRIERS = st.builds(
    lambda number, trace, parent, tenant: carrier(number, tenant, trace=trace, parent=parent),
    IDS,
    TRACES,
    PARENTS,
    TENANTS,
)
LINKS = st.builds(lambda number, trace, parent: link(number, trace=trace, parent=parent), IDS, TRACES, PARENTS)
ROWS = st.tuples(st.lists(CALLS | CARRIERS, max_size=3), st.lists(LINKS, max_size=3))
ARRIVALS = st.lists(st.tuples(ROWS, st.integers(0, 6)), min_size=1, max_size=14)
"""Rows, and how many seconds pass after each."""


def append(books: MemoryBooks, row: tuple[list[object], list[bytes]], clock: ManualClock) -> None:
    books.append([entry(*row[0], links=row[1], received_ns=clock.now_ns())])  # type: ignore[arg-type]


def pass_time(clock: ManualClock, seconds: int, step: Callable[[], None]) -> None:
    step()
    for _ in range(seconds):
        clock.advance(1)
        step()


@settings(max_examples=150, deadline=None)
@given(arrivals=ARRIVALS, jumps=st.dictionaries(st.integers(0, 13), st.sampled_from((-3600, -2, 2)), max_size=2))
def test_it_decides_as_one_that_keeps_every_span(
    arrivals: list[tuple[tuple[list[object], list[bytes]], int]], jumps: dict[int, int]
) -> None:
    clock = ManualClock()
    books, naive_books = MemoryBooks(), MemoryBooks()
    assembler, naive = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS), Naive(naive_books, clock)

    def step() -> None:
        while assembler.step():
            pass
        naive.step()
        assert books_of(books) == books_of(naive_books)

    for place, (row, seconds) in enumerate(arrivals):
        append(books, row, clock)
        append(naive_books, row, clock)
        pass_time(clock, seconds, step)
        if place in jumps:
            clock.jump(jumps[place])
    pass_time(clock, 3 * MAX_S, step)
    assert not books.rows
    assert assembler.open_traces == 0


def test_what_is_overdue_while_its_large_trace_rests_is_decided_afterwards() -> None:
    clock, books = ManualClock(), MemoryBooks()
    assembler = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)

    def step() -> None:
        while assembler.step():
            pass

    for numbers in (range(1, LARGE_SPANS + 2), range(10, 12)):  # their parent never comes
        books.append([entry(*(facts(n, parent=99, tenant="acme") for n in numbers), received_ns=clock.now_ns())])
        pass_time(clock, MAX_S, step)
        assert books.total().spans == LARGE_SPANS + 1
    pass_time(clock, (LARGE_SPANS + 1) * PAUSE_A_SPAN_NS // SECOND_NS - MAX_S, step)
    assert books.total().spans == LARGE_SPANS + 3
    assert not books.rows


@settings(max_examples=150, deadline=None)
@given(arrivals=ARRIVALS, restarts=st.sets(st.integers(0, 13)))
def test_restarts_lose_nothing_and_double_nothing(
    arrivals: list[tuple[tuple[list[object], list[bytes]], int]], restarts: set[int]
) -> None:
    """When a trace is decided may differ: one that was, and whose row is still there, is as old as that row again."""
    clock = ManualClock()
    books = MemoryBooks()
    running = [assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)]

    def step() -> None:
        while running[-1].step():
            pass

    for place, (row, seconds) in enumerate(arrivals):
        append(books, row, clock)
        pass_time(clock, seconds, step)
        if place in restarts:
            running.append(assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS))
    pass_time(clock, 3 * MAX_S, step)
    received = [span for entry in books.entries for span in entry.facts if span.call is not None]
    assert sum(amount.spans for amount in books.tallies.values()) == len(received)
    calls = {(span.trace_id, span.span_id) for span in received}
    billed = {key for key in calls if (f"{key[0].hex()}-{key[1].hex()}-input", "spanmeter") in books.events}
    assert len(books.bodies) == len(books.events) == 2 * len(billed)
    assert not books.held.keys() & billed
    memories = books.memories(list(books.traces))
    assert {(trace_id, span_id) for trace_id, memory in memories.items() for span_id in memory.outcomes} == calls
    assert not books.rows


def settled(books: MemoryBooks, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None) -> list[int]:
    """How many traces each round will have; `then` after each."""
    sizes: list[int] = []
    settle = books.settle

    def noted(settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        settle(settlement, now_ns=now_ns, deliver=deliver)
        sizes.append(len(dict(settlement.all_memories())))
        then()

    monkeypatch.setattr(books, "settle", noted)
    return sizes


def test_rounds_of_what_is_due_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TRACES_AT_ONCE", 4)
    monkeypatch.setattr(subject, "TRACES_A_TURN", 100)
    clock, books = ManualClock(), MemoryBooks()
    assembler = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)
    sizes = settled(books, monkeypatch)
    append(books, ([facts(1, trace=trace, tenant="acme") for trace in range(1, 11)], []), clock)
    clock.advance(QUIET_S)
    while assembler.step():
        pass
    assert sizes == [4, 3, 3]


def test_what_becomes_due_during_a_round_waits_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, books = ManualClock(), MemoryBooks()
    assembler = assembler_of(books, clock, quiet_ns=QUIET_NS, max_ns=MAX_NS)
    sizes = settled(books, monkeypatch, then=lambda: clock.advance(1))
    append(books, ([facts(1, trace=trace, tenant="acme") for trace in (1, 2, 3)], []), clock)
    clock.advance(1)
    append(books, ([facts(1, trace=4, tenant="acme")], []), clock)
    clock.advance(QUIET_S - 1)
    assert assembler.step()
    assert not assembler.step()
    assert sizes == [2, 1]
    assert not assembler.step()
    assert sizes == [2, 1, 1]
