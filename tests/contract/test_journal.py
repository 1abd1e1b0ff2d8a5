"""Journal's docstring, line by line, on every implementation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanmeter.store.journal import EncodedFacts, JournalEntry, trace_key
from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage
from tests.contract.ledgers import RIGS, Rig
from tests.spans import NOW_NS, entry, facts, link, trace_id

COUNTS = st.integers(0, 100_000_000)
TIMES = st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=20)
CALLS = st.builds(
    LlmCall,
    role=st.sampled_from(Role),
    dialect=TEXT,
    operation=TEXT,
    provider=TEXT,
    request_model=TEXT,
    response_model=TEXT,
    response_id=TEXT,
    usage=st.none()
    | st.builds(Usage, input=COUNTS, cache_read=COUNTS, cache_write=COUNTS, output=COUNTS, reasoning=COUNTS),
    problem=TEXT,
    reason=TEXT,
    streamed=st.booleans(),
    estimated=st.booleans(),
    is_error=st.booleans(),
)
FACTS = st.builds(
    SpanFacts,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_span_id=st.just(b"") | st.binary(min_size=8, max_size=8),
    parent_is_remote=st.none() | st.booleans(),
    start_ns=TIMES,
    end_ns=TIMES,
    scope=TEXT,
    service=TEXT,
    tenant=TEXT,
    tenant_key=TEXT,
    resource_tenant=TEXT,
    resource_tenant_key=TEXT,
    credential_tenant=TEXT,
    dimensions=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    call=st.none() | CALLS,
)
ENTRIES = st.builds(
    JournalEntry,
    received_ns=TIMES,
    facts=st.lists(FACTS, max_size=3),
    links=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(b"".join),
    spans=st.integers(6, 100),
)


@pytest.fixture(params=RIGS, ids=lambda factory: factory.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    factory: Callable[[Path], Rig] = request.param
    rig = factory(tmp_path)
    yield rig
    rig.close()


def test_an_empty_journal(rig: Rig) -> None:
    assert list(rig.journal.read(after=0, limit=10)) == []
    assert rig.journal.depth() == 0


# The fixture is one folder for all examples: what an example appends stands behind what was there.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=4))
def test_what_is_appended_is_read_back(rig: Rig, entries: list[JournalEntry]) -> None:
    before = rig.journal.read(after=0, limit=1_000_000)
    last = before[-1].seq if before else 0
    rig.journal.append(entries)
    rig.restart()
    rows = rig.journal.read(after=last, limit=1_000_000)
    kept = [entry for entry in entries if entry.facts or entry.links]
    assert [(row.received_ns, list(row.facts), row.links) for row in rows] == [
        (entry.received_ns, list(entry.facts), entry.links) for entry in kept
    ]


def test_facts_that_are_encoded_before_are_the_same(rig: Rig) -> None:
    plain = entry(facts(1), facts(2, call=None, tenant="acme"), links=[link(3)])
    made = EncodedFacts(plain.facts)
    assert (len(made), list(made), made[1], made[:1]) == (2, [*plain.facts], plain.facts[1], [plain.facts[0]])
    assert not EncodedFacts(())
    rig.journal.append([plain, replace(plain, facts=made)])
    first, second = rig.journal.read(after=0, limit=9)
    assert (list(second.facts), second.links) == (list(first.facts), first.links) == ([*plain.facts], plain.links)


def test_rows_come_in_order_and_in_pieces(rig: Rig) -> None:
    rig.journal.append([entry(facts(number)) for number in range(1, 6)])
    rig.journal.append([entry(links=[link(number)]) for number in range(6, 8)])
    assert rig.journal.depth() == 7
    read: list[int] = []
    while rows := rig.journal.read(after=read[-1] if read else 0, limit=3):
        assert len(rows) <= 3
        read += [row.seq for row in rows]
    assert len(read) == 7
    assert read == sorted(set(read))


def test_an_entry_that_can_bill_nothing_takes_no_row(rig: Rig) -> None:
    rig.journal.append([entry(rejected=2), entry(others=3)])
    assert rig.journal.depth() == 0


def test_what_was_removed_is_gone_for_good(rig: Rig) -> None:
    rig.journal.append([entry(facts(number)) for number in (1, 2, 3)])
    [_, second, _] = [row.seq for row in rig.journal.read(after=0, limit=9)]
    rig.journal.remove([second])
    rig.restart()
    assert second not in [row.seq for row in rig.journal.read(after=0, limit=9)]
    assert rig.journal.depth() == 2


def test_a_number_is_never_used_twice(rig: Rig) -> None:
    seen: list[int] = []
    for _ in range(4):
        rig.journal.append([entry(facts(1)), entry(facts(2))])
        rows = [row.seq for row in rig.journal.read(after=0, limit=9)]
        assert not set(rows) & set(seen)
        assert min(rows) > max(seen, default=0)
        seen += rows
        rig.journal.remove(rows)
        rig.restart()


def test_of_a_row_its_traces_each_once(rig: Rig) -> None:
    one, two, three = (trace_key(trace_id(number)) for number in (1, 2, 3))
    row = [facts(1), facts(2), facts(1, trace=2)], [link(3), link(4, trace=3), link(5, trace=3)]
    rig.journal.append([entry(*row[0], links=row[1]), entry(links=[link(1)])])
    first, second = rig.journal.read_traces(after=0, limit=9)
    assert (sorted(first.facts), list(first.links), first.received_ns) == (sorted((one, two)), [three], NOW_NS)
    assert (list(second.facts), list(second.links)) == ([], [one])
    assert [row.seq for row in rig.journal.read_traces(after=first.seq, limit=9)] == [second.seq]
    assert [row.seq for row in rig.journal.read_traces(after=0, limit=1)] == [first.seq]


def test_of_rows_what_is_of_some_traces(rig: Rig) -> None:
    rig.journal.append(
        [
            entry(facts(number), facts(number, trace=2), links=[link(9, trace=2), link(9, trace=3)])
            for number in range(1, 21)
        ]
    )
    seqs = [row.seq for row in rig.journal.read_traces(after=0, limit=99)]
    two, three = trace_key(trace_id(2)), trace_key(trace_id(3))
    found = list(rig.journal.read_of({seq: {three if seq == seqs[0] else two} for seq in reversed(seqs)}))
    assert [row.seq for row in found] == seqs
    assert (list(found[0].facts), found[0].links) == ([], link(9, trace=3))
    assert [(list(row.facts), row.links) for row in found[1:]] == [
        ([facts(number, trace=2)], link(9, trace=2)) for number in range(2, 21)
    ]
