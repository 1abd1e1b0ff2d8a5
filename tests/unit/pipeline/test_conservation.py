"""Whatever arrives in whatever order: received = Σ outcomes, and a call is billed at most once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spanmeter.pipeline.accounting import HELD, Gathered, Rules, settle_traces
from spanmeter.store.ledger import Tally
from spanmeter.usage.call import Role, SpanFacts
from spanmeter.usage.identity import is_specific
from spanmeter.usage.outcome import Outcome
from tests.spans import arrival, facts, llm_call, parent_id
from tests.unit.store.books import MemoryBooks

RULES = Rules()
IDS = ["", "chatcmpl-1", "chatcmpl-AAAAbbbbCCCC1111", "msg_AAAAbbbbCCCC2222"]
CALLS = st.one_of(
    st.none(),
    st.builds(
        llm_call,
        st.sampled_from([1, 10, 200]),
        st.sampled_from([0, 5]),
        role=st.sampled_from([Role.CALL, Role.CALL, Role.CALL, Role.AGGREGATE, Role.IGNORED]),
        response_id=st.sampled_from(IDS),
    ),
    st.builds(llm_call, usage=st.none(), problem=st.sampled_from(["", "negative"])),
)
SPANS = st.builds(
    lambda number, trace, parent, call, tenant: facts(number, trace=trace, parent=parent, call=call, tenant=tenant),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 6),
    CALLS,
    st.sampled_from(["", "", "acme", "bolt"]),
)
Row = tuple[int, Sequence[SpanFacts]]


@st.composite
def journals(draw: st.DrawFn) -> list[Row]:
    """Rows with spans, of which some come again unchanged and some with other contents."""
    spans = draw(st.lists(SPANS, min_size=1, max_size=10))
    again = draw(st.lists(st.sampled_from(spans), max_size=4))
    placed = [(draw(st.integers(1, 5)), span) for span in [*spans, *again]]
    return [(row, [span for at, span in placed if at == row]) for row in range(1, 6)]


def gathered(rows: Sequence[Row]) -> dict[bytes, Gathered]:
    traces: dict[bytes, Gathered] = {}
    for row, spans in rows:
        for span in spans:
            traces.setdefault(span.trace_id, Gathered()).arrivals.append(arrival(row, span))
    return traces


def received(rows: Sequence[Row]) -> Tally:
    total = Tally()
    for _, spans in rows:
        for span in spans:
            if span.call is not None:
                total = total.plus(Tally.of(span))
    return total


def billed_spans(books: MemoryBooks) -> list[tuple[bytes, SpanFacts]]:
    return [
        (trace, next(facts for facts in memory.facts if facts.span_id == span))
        for trace, memory in books.memories(books.traces.keys()).items()
        for span, recorded in memory.outcomes.items()
        if recorded.outcome is Outcome.BILLED
    ]


@given(rows=journals(), data=st.data())
def test_the_books_balance_after_every_round(rows: list[Row], data: st.DataObject) -> None:
    books = MemoryBooks()
    order = data.draw(st.permutations(rows))
    known: list[Row] = []
    while order:
        count = data.draw(st.integers(1, len(order)))
        new, order = order[:count], order[count:]
        read_again = data.draw(st.lists(st.sampled_from(known), unique_by=lambda row: row[0])) if known else []
        settlement = settle_traces(gathered([*new, *read_again]), books, rules=RULES)
        made = [event.id for event in settlement.all_events()]
        assert not [event_id for event_id in made if (event_id, "spanmeter") in books.events]
        assert len(made) == len(set(made))
        books.settle(settlement, now_ns=1, deliver=True)
        known += new
        assert books.total() == received(known)
        assert all(amount.spans >= 0 for amount in books.tallies.values())
    check_bill(books, rows)


def check_bill(books: MemoryBooks, rows: Sequence[Row]) -> None:
    billed = billed_spans(books)
    outcomes = Counter(
        recorded.outcome
        for memory in books.memories(books.traces.keys()).values()
        for recorded in memory.outcomes.values()
    )
    assert len(books.held) == sum(outcomes[outcome] for outcome in HELD)
    usages = [span.call.usage for _, span in billed if span.call is not None and span.call.usage is not None]
    assert sum(event.tokens for event in books.events.values()) == sum(usage.total for usage in usages)
    # A response id whose records all have the same counts is one call, however many spans record it.
    for response_id in filter(is_specific, IDS):
        records = {
            span.call.usage
            for _, spans in rows
            for span in spans
            if span.call is not None and span.call.response_id == response_id
        }
        if len(records) == 1:
            bills = [span for _, span in billed if span.call is not None and span.call.response_id == response_id]
            assert len(bills) <= 1


@given(rows=journals(), data=st.data())
def test_the_order_of_arrival_changes_nothing(rows: list[Row], data: st.DataObject) -> None:
    results = []
    spans = [span for _, spans in rows for span in spans]
    shuffled = data.draw(st.permutations(spans))
    for arrived in (rows, [(row, [span]) for row, span in enumerate(shuffled, start=1)]):
        books = MemoryBooks()
        books.settle(settle_traces(gathered(arrived), books, rules=RULES), now_ns=1, deliver=True)
        results.append((sorted(books.bodies), books.spans(), set(books.held)))
    assert results[0] == results[1]


@given(tenants=st.lists(st.sampled_from(["", "acme", "bolt"]), min_size=2, max_size=6), data=st.data())
def test_a_chain_is_billed_to_the_nearest_that_is_named(tenants: list[str], data: st.DataObject) -> None:
    chain = [
        facts(number, parent=number - 1, tenant=tenant, call=None) for number, tenant in enumerate(tenants, start=1)
    ]
    chain[-1] = replace(chain[-1], call=llm_call())
    books = MemoryBooks()
    order = data.draw(st.permutations(chain))
    books.settle(settle_traces(gathered([(1, order)]), books, rules=RULES), now_ns=1, deliver=True)
    nearest = next((tenant for tenant in reversed(tenants) if tenant), None)
    assert {event.subject for event in books.events.values()} == ({nearest} if nearest else set())


@given(parents=st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_any_graph_of_parents_can_be_decided(parents: list[int]) -> None:
    """A cycle, a span that is its own parent, a gap: strange, and no reason to hang."""
    spans = [
        replace(facts(number, call=llm_call()), parent_span_id=parent_id(parent))
        for number, parent in enumerate(parents, start=1)
    ]
    books = MemoryBooks()
    books.settle(settle_traces(gathered([(1, spans)]), books, rules=RULES), now_ns=1, deliver=True)
    assert books.total() == received([(1, spans)])
