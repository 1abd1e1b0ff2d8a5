import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.pipeline.remembered import RememberedBooks
from spanmeter.store.ledger import Billed, Settlement, Tally
from spanmeter.usage.call import Role, SpanFacts, TokenClass, Usage
from spanmeter.usage.decision import DecisionRules
from spanmeter.usage.event import EventRules
from spanmeter.usage.outcome import Outcome, Reason
from tests.spans import SPECIFIC_ID, arrival, carrier, facts, llm_call, span_id, trace_id
from tests.unit.store.books import MemoryBooks

RULES = Rules()
BILLED = (Outcome.BILLED, Reason.OWN_CALL)
RESENT = (Outcome.DUPLICATE, Reason.RESENT)
SAME = (Outcome.DUPLICATE, Reason.SAME_RESPONSE)
PARKED = (Outcome.PARKED, Reason.NO_TENANT)
CONFLICT = (Outcome.BILLED, Reason.RESPONSE_CONFLICT)
SIDE_BY_SIDE = (Outcome.DUPLICATE, Reason.SIDE_BY_SIDE)


def gather(rows: Iterable[tuple[int, SpanFacts]]) -> dict[bytes, Gathered]:
    gathered: dict[bytes, Gathered] = {}
    for row, one in rows:
        gathered.setdefault(one.trace_id, Gathered()).arrivals.append(arrival(row, one))
    return gathered


def settle(books: MemoryBooks, *rows: tuple[int, SpanFacts], rules: Rules = RULES) -> Settlement:
    """One round of decisions over all traces that have something new."""
    settlement = settle_traces(gather(rows), books, rules=rules)
    books.settle(settlement, now_ns=1, deliver=True)
    return settlement


def tokens(books: MemoryBooks) -> dict[str, int]:
    return {event_id: event.tokens for (event_id, _), event in books.events.items()}


class TestOneSpan:
    def test_a_call_is_an_event_a_class(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(tenant="acme", call=llm_call(11, 7))))
        identity = f"{trace_id(1).hex()}-{span_id(1).hex()}"
        assert tokens(books) == {f"{identity}-input": 11, f"{identity}-output": 7}
        assert {event.subject for event in books.events.values()} == {"acme"}
        assert books.tallies == {BILLED: Tally(spans=1, input_tokens=11, output_tokens=7)}
        assert books.held == {}

    def test_nothing_is_stored_by_deciding(self) -> None:
        books = MemoryBooks()
        settle_traces(gather([(1, facts(tenant="acme"))]), books, rules=RULES)
        assert books == MemoryBooks()

    def test_carriers_are_no_llm_spans(self) -> None:
        books = MemoryBooks()
        settle(books, (1, carrier(1, "acme")))
        assert books.total() == Tally()
        assert books.events == {}


class TestTheSameSpanAgain:
    def test_in_one_batch(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(tenant="acme")), (2, facts(tenant="acme")), (2, facts(tenant="acme")))
        assert len(books.events) == 2
        assert books.spans() == {BILLED: 1, RESENT: 2}

    def test_after_the_decision(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(tenant="acme")))
        assert [*settle(books, (2, facts(tenant="acme"))).all_bodies()] == []
        assert books.spans() == {BILLED: 1, RESENT: 1}

    def test_a_row_read_again_is_not_counted_again(self) -> None:
        books = MemoryBooks()
        rows = [(1, facts(1, tenant="acme")), (1, facts(2)), (2, facts(2)), (3, carrier(4, "x", parent=9))]
        settle(books, *rows)
        spans, held = books.spans(), dict(books.held)
        assert [*settle(books, *rows).all_bodies()] == []
        assert books.spans() == spans
        assert books.held == held

    def test_with_other_counts_after_it_was_billed_the_bill_stands(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(tenant="acme", call=llm_call(10, 5))))
        settle(books, (2, facts(tenant="acme", call=llm_call(900, 5))))
        assert sorted(tokens(books).values()) == [5, 10]
        assert books.tallies == {
            BILLED: Tally(spans=1, input_tokens=10, output_tokens=5),
            RESENT: Tally(spans=1, input_tokens=900, output_tokens=5),
        }

    def test_the_fuller_record_counts_while_nothing_was_billed(self) -> None:
        for first, second in [(None, llm_call(3, 4)), (llm_call(3, 4), None), (llm_call(1, 1), llm_call(3, 4))]:
            books = MemoryBooks()
            settle(books, (1, facts(call=first or llm_call(usage=None))))
            settle(books, (2, facts(call=second or llm_call(usage=None))))
            settle(books, (3, carrier(2, "acme")), (3, facts(call=llm_call(usage=None), parent=2)))
            assert books.tallies[PARKED].spans == 1
            assert books.tallies[PARKED].input_tokens == 3
            assert books.spans() == {PARKED: 1, RESENT: 2}

    def test_a_copy_that_names_the_tenant_unparks(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts()))
        settle(books, (2, facts(tenant="acme")))
        assert books.spans() == {BILLED: 1, RESENT: 1}
        assert books.held == {}


class TestHeld:
    def test_a_late_tenant_unparks_once(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(2, parent=1)))
        assert set(books.held) == {(trace_id(1), span_id(2))}
        assert books.spans() == {PARKED: 1}
        settle(books, (2, carrier(1, "acme")))
        assert books.held == {}
        assert books.spans() == {BILLED: 1}
        assert [*settle(books, (3, carrier(1, "acme"))).all_bodies()] == []
        assert len(books.events) == 2

    def test_each_outcome_for_a_person_is_held_with_its_reason(self) -> None:
        books = MemoryBooks()
        settle(
            books,
            (1, facts(1, trace=1)),
            (1, facts(1, trace=2, tenant="a", call=llm_call(usage=None))),
            (1, facts(1, trace=3, tenant="a", call=llm_call(usage=None, problem="negative"))),
            (1, facts(1, trace=4, tenant="a", call=llm_call(role=Role.AGGREGATE))),
            (1, facts(1, trace=5, tenant="a", call=llm_call(role=Role.IGNORED))),
            (1, facts(1, trace=6, parent=9)),
            (1, carrier(2, "a", trace=6)),
            (1, carrier(3, "b", trace=6)),
        )
        assert {trace: (d.outcome, d.reason) for (trace, _), d in books.held.items()} == {
            trace_id(1): PARKED,
            trace_id(2): (Outcome.UNMETERED, Reason.NO_USAGE),
            trace_id(3): (Outcome.INVALID, Reason.BAD_COUNTS),
            trace_id(4): (Outcome.PARKED, Reason.SOLE_AGGREGATE),
            trace_id(6): (Outcome.PARKED, Reason.TENANT_CONFLICT),
        }
        assert books.events == {}

    def test_a_sum_is_released_when_its_parts_come(self) -> None:
        books = MemoryBooks()
        settle(books, (1, facts(1, tenant="acme", call=llm_call(10, 5, role=Role.AGGREGATE))))
        settle(books, (2, facts(2, parent=1)))
        assert books.spans() == {BILLED: 1, (Outcome.AGGREGATE, Reason.SUM): 1}
        assert books.held == {}


class TestTheSameCall:
    def call(self, number: int, trace: int, *, tenant: str = "acme", counts: tuple[int, int] = (10, 5)) -> SpanFacts:
        return facts(number, trace=trace, tenant=tenant, call=llm_call(*counts, response_id=SPECIFIC_ID))

    def test_in_another_trace(self) -> None:
        for rounds in (1, 2):
            books = MemoryBooks()
            rows = [(1, self.call(1, 1)), (2, self.call(2, 2))]
            for part in [rows] if rounds == 1 else [rows[:1], rows[1:]]:
                settle(books, *part)
            assert tokens(books) == {f"{SPECIFIC_ID}-input": 10, f"{SPECIFIC_ID}-output": 5}
            assert books.spans() == {BILLED: 1, SAME: 1}

    def test_in_one_trace(self) -> None:
        books = MemoryBooks()
        settle(books, (1, self.call(1, 1)))
        settle(books, (2, self.call(2, 1)))
        assert len(books.events) == 2
        assert books.spans() == {BILLED: 1, SAME: 1}

    def test_with_other_counts_in_another_trace_it_is_billed_by_its_span(self) -> None:
        for rounds in (1, 2):
            books = MemoryBooks()
            rows = [(1, self.call(1, 1)), (2, self.call(2, 2, counts=(10, 6)))]
            for part in [rows] if rounds == 1 else [rows[:1], rows[1:]]:
                settle(books, *part)
            own = f"{trace_id(2).hex()}-{span_id(2).hex()}"
            assert tokens(books) == {
                f"{SPECIFIC_ID}-input": 10,
                f"{SPECIFIC_ID}-output": 5,
                f"{own}-input": 10,
                f"{own}-output": 6,
            }
            assert books.spans() == {BILLED: 1, CONFLICT: 1}
            settle(books, (3, self.call(2, 2, counts=(10, 6))))
            assert len(books.events) == 4
            assert books.spans() == {BILLED: 1, CONFLICT: 1, RESENT: 1}

    def test_a_parked_twin_becomes_a_duplicate_when_the_call_is_billed(self) -> None:
        for order in ([1, 2], [2, 1]):
            for together in (True, False):
                books = MemoryBooks()
                rows = [(row, self.call(row, row, tenant="" if row == 1 else "acme")) for row in order]
                for part in [rows] if together else [rows[:1], rows[1:]]:
                    settle(books, *part)
                assert books.spans() == {BILLED: 1, SAME: 1}
                assert books.held == {}
                assert len(books.events) == 2

    def test_a_parked_twin_whose_trace_was_forgotten_and_came_again(self) -> None:
        books = MemoryBooks()
        settle(books, (1, self.call(1, 1, tenant="")))
        books.forget(before_ns=2)
        settle(books, (2, facts(7, trace=1, tenant="other")))
        settle(books, (3, self.call(1, 2)))
        assert books.spans()[BILLED] == 2

    def test_other_sources_are_other_books(self) -> None:
        books = MemoryBooks()
        settle(books, (1, self.call(1, 1)))
        settle(books, (2, self.call(1, 2)), rules=Rules(events=EventRules(source="other")))
        assert len(books.events) == 4

    def test_without_an_id_calls_are_their_spans(self) -> None:
        books = MemoryBooks()
        unspecific = llm_call(response_id="chatcmpl-7")
        settle(books, (1, facts(1, tenant="a", call=unspecific)), (1, facts(1, trace=2, tenant="a", call=unspecific)))
        assert books.spans() == {BILLED: 2}


def test_default_subject_pays_for_those_that_name_nobody() -> None:
    books = MemoryBooks()
    settle(
        books,
        (1, facts(1)),
        (1, facts(2, tenant="acme")),
        rules=Rules(decisions=DecisionRules(default_subject="house")),
    )
    assert sorted({event.subject for event in books.events.values()}) == ["acme", "house"]


class TestTwinsInOtherTraces:
    """Two calls of one service at the same time, by two instrumentations, in a trace each."""

    def bill(self, *rounds: Iterable[SpanFacts]) -> list[tuple[str, int]]:
        books, recent = MemoryBooks(), RecentCalls(1)
        for row, spans in enumerate(rounds, start=1):
            settlement = settle_traces(gather((row, one) for one in spans), books, rules=RULES, recent=recent)
            books.settle(settlement, now_ns=1, deliver=True)
            recent.add((arrival(row, one)[1:] for one in spans), now_ns=1)
        return sorted((event.subject, event.tokens) for event in books.events.values())

    @pytest.mark.parametrize("other", ["", "globex"])
    def test_whose_they_are_is_known_of_those_decided_before(self, other: str) -> None:
        one = [carrier(1, "acme"), facts(2, parent=1, scope="one")]
        two = [carrier(1, other, trace=2), facts(2, trace=2, parent=1, scope="two")]
        assert self.bill(one, two) == self.bill([*one, *two])
        assert len(self.bill(one, two)) == (4 if other else 2)
        if other:
            assert self.bill(two, one) == self.bill(one, two)

    def test_one_that_waits_for_a_person_keeps_the_tenant_above_it(self) -> None:
        guess = [carrier(1, "acme"), facts(2, parent=1, scope="one", call=llm_call(estimated=True))]
        measured = [facts(2, trace=2, scope="two")]
        assert self.bill(guess, measured) == self.bill(measured, guess) == [("acme", 5), ("acme", 10)]

    @pytest.mark.parametrize("inside", [True, False])
    def test_one_that_has_its_twin_already_takes_no_other(self, inside: bool) -> None:
        """Two calls of equal counts at the same time, of which the second instrumentation saw one."""
        seen = facts(1, tenant="acme", scope="one")
        other = facts(2, tenant="acme", scope="two", parent=int(inside), start_ns=seen.start_ns, end_ns=seen.end_ns)
        alone = facts(1, trace=3, tenant="acme", scope="one")
        twin = other if inside else replace(other, trace_id=trace_id(2))
        apart = [[seen, twin]] if inside else [[twin], [seen]]
        for rounds in ([*apart, [alone]], [[alone], [seen, twin]], [[seen, twin, alone]]):
            assert self.bill(*rounds) == [("acme", 5), ("acme", 5), ("acme", 10), ("acme", 10)]

    @pytest.mark.parametrize("traces", [(1, 2), (2, 1)])
    def test_one_whose_prompt_is_unknown(self, traces: tuple[int, int]) -> None:
        streamed = [facts(trace=traces[0], scope="one", tenant="acme", call=llm_call(0, 5))]
        whole = [facts(trace=traces[1], scope="two", tenant="acme")]
        assert self.bill([*streamed, *whole]) == self.bill(whole, streamed) == [("acme", 5), ("acme", 10)]
        assert self.bill(streamed, whole) == [("acme", 5)]  # what was billed stands

    @pytest.mark.parametrize("operation", ["chat", "generate_content"])
    def test_one_of_an_instrumentation_that_shares_its_scope(self, operation: str) -> None:
        scope = "opentelemetry.util.genai.handler"
        beside = [facts(trace=1, tenant="acme", scope=scope)]
        call = llm_call(operation=operation, response_id=SPECIFIC_ID)
        inside = [facts(trace=2, tenant="acme", scope=scope, call=call)]
        assert self.bill(beside, inside) == self.bill(inside, beside) == [("acme", 5), ("acme", 10)]
        another = [replace(beside[0], trace_id=trace_id(3))]
        assert len(self.bill(beside, another)) == len(self.bill(inside, beside, another)) == 4

    @pytest.mark.parametrize("traces", [(1, 2), (2, 1)])
    def test_one_that_left_out_the_reasoning(self, traces: tuple[int, int]) -> None:
        short = [facts(trace=traces[0], scope="one", tenant="acme")]
        call = llm_call(usage=Usage(input=10, output=5, reasoning=7))
        whole = [facts(trace=traces[1], scope="two", tenant="acme", call=call)]
        assert self.bill([*short, *whole]) == self.bill(whole, short) == [("acme", 10), ("acme", 12)]
        assert self.bill(short, whole) == [("acme", 5), ("acme", 10)]  # what was billed stands
        other = [replace(one, span_id=span_id(9), trace_id=trace_id(9)) for one in whole]
        assert len(self.bill(short, whole, other)) == len(self.bill(whole, short, other)) == 4


class TestTwoResponseIds:
    """A proxy's own id on the record outside, the provider's inside; the proxy itself records its own, elsewhere."""

    def inside(self, *, tenant: str = "acme") -> list[SpanFacts]:
        outer = facts(1, tenant=tenant, scope="sdk", call=llm_call(response_id=SPECIFIC_ID))
        call = llm_call(response_id="resp_0f1e2d3c4b5a69788796")
        return [outer, facts(2, parent=1, tenant=tenant, scope="openai", call=call)]

    def proxy(self, *counts: int, scope: str = "proxy", tenant: str = "acme") -> SpanFacts:
        call = llm_call(*counts, response_id=SPECIFIC_ID)
        return facts(1, trace=2, tenant=tenant, scope=scope, service="proxy/", call=call)

    @pytest.mark.parametrize("order", [*itertools.permutations(("outside", "inside", "proxy", "provider"))])
    def test_whatever_comes_first_the_call_is_billed_once(self, order: Sequence[str]) -> None:
        """Unless both ids were billed before any trace had the two of them: then they were two calls."""
        outside, inside = self.inside()
        provider = replace(inside, trace_id=trace_id(3), parent_span_id=b"", scope="provider")
        records = {"outside": outside, "inside": inside, "proxy": self.proxy(), "provider": provider}
        books = MemoryBooks()
        for row, one in enumerate(order):
            settle(books, (row, records[one]))
        together = max(order.index("outside"), order.index("inside"))
        billed_before = {records[one].call for one in order[:together]}
        assert sorted(tokens(books).values()) == ([5, 10] if len(billed_before) < 2 else [5, 5, 10, 10])
        assert books.total().spans == 4

    def test_in_what_a_process_remembers(self) -> None:
        books = RememberedBooks(traces=9, calls=9, classes=[*TokenClass])
        for row, spans in enumerate([self.inside(), [self.proxy()]]):
            settlement = settle_traces(gather((row, one) for one in spans), books, rules=RULES)
            books.settle(settlement, now_ns=1, deliver=True)
            assert len([*settlement.all_events()]) == (0 if row else 2)

    def test_whose_events_are_gone_it_is_not_billed_again(self) -> None:
        class Pruned(MemoryBooks):
            def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]:
                return {name: {} for name in names if name == SPECIFIC_ID}

        books = Pruned()
        settle(books, (1, self.proxy(tenant="acme")))
        settle(books, *((2, one) for one in self.inside()))
        assert books.events == {}
        assert {what for what, _ in books.spans()} == {Outcome.DUPLICATE}

    @pytest.mark.parametrize("parked", ["proxy", "inside", "both"])
    def test_what_is_parked_is_released(self, parked: str) -> None:
        books = MemoryBooks()
        settle(books, (1, self.proxy(tenant="acme" if parked == "inside" else "")))
        settle(books, *((2, one) for one in self.inside(tenant="acme" if parked == "proxy" else "")))
        if parked == "both":
            settle(books, (3, carrier(1, "acme")), (3, replace(self.inside()[0], tenant="acme")))
        assert len(books.events) == 2
        assert books.held == {}
        assert books.total().spans == 3 + (parked == "both")

    def test_an_id_that_a_server_uses_again_is_no_name(self) -> None:
        books = MemoryBooks()
        settle(books, (1, self.proxy(90, 50, scope="sdk")))
        settle(books, *((2, one) for one in self.inside()))
        assert sorted(tokens(books).values()) == [5, 10, 50, 90]


class TestTwinsOutOfSight:
    """One call recorded in two traces. The duplicate's goes on when nothing tells of the other any more."""

    def seen_twice(self, *, tenant: str = "acme") -> MemoryBooks:
        """The record in trace 2 stands for the call, that in trace 1 is the duplicate."""
        books = MemoryBooks()
        settle(books, *((1, facts(trace=trace, parent=9, scope=f"scope {trace}", tenant=tenant)) for trace in (1, 2)))
        assert books.spans() == {BILLED if tenant else PARKED: 1, SIDE_BY_SIDE: 1}
        return books

    def test_a_duplicate_stays_one(self) -> None:
        books = self.seen_twice()
        settle(books, (2, facts(9, tenant="acme", call=llm_call(3, 4))))
        assert sorted(tokens(books).values()) == [3, 4, 5, 10]
        assert books.spans() == {BILLED: 2, SIDE_BY_SIDE: 1}

    @pytest.mark.parametrize("counts", [(10, 5), (10, 4), (2, 1)])
    def test_what_comes_inside_it_is_the_same_call(self, counts: tuple[int, int]) -> None:
        books = self.seen_twice()
        settle(books, (2, facts(2, parent=1, scope="late", tenant="acme", call=llm_call(*counts))))
        assert sorted(tokens(books).values()) == [5, 10]
        assert books.total() == Tally(spans=3, input_tokens=20 + counts[0], output_tokens=10 + counts[1])

    def test_with_other_counts_it_is_no_conflict(self) -> None:
        def call(trace: int, scope: str, output: int) -> SpanFacts:
            return facts(trace=trace, scope=scope, tenant="acme", call=llm_call(10, output, response_id=SPECIFIC_ID))

        books = MemoryBooks()
        settle(books, (1, call(3, "sdk", 5)), (1, call(2, "gateway", 5)), (1, call(1, "sdk", 6)))
        assert books.spans() == {BILLED: 1, SAME: 2}
        settle(books, (2, carrier(9, "acme")))
        assert books.spans() == {BILLED: 1, SAME: 2}

    def test_without_counts_it_is_not_unmetered(self) -> None:
        books = MemoryBooks()
        without, whole = llm_call(usage=None, response_id=SPECIFIC_ID), llm_call(response_id=SPECIFIC_ID)
        settle(books, (1, facts(tenant="acme", call=without)), (1, facts(trace=2, scope="gateway", call=whole)))
        settle(books, (2, carrier(9, "acme")))
        assert books.spans() == {BILLED: 1, SAME: 1}
        assert books.held == {}

    def test_of_one_that_is_parked_it_is_billed_under_the_same_name(self) -> None:
        books = self.seen_twice(tenant="")
        [parked] = books.held.values()
        settle(books, (2, carrier(9, "acme")))
        assert {event_id.rpartition("-")[0] for event_id in tokens(books)} == {parked.identity}
        assert books.spans() == {BILLED: 1, SAME: 1}
        assert books.held == {}


@pytest.mark.parametrize(
    "rounds", [[[1, 2, 3]], [[1], [2, 3]], [[1, 2], [3]], [[1], [2], [3]], [[1], [3], [2]], [[3], [1, 2]]]
)
def test_a_loop_of_running_totals_is_billed_once_whenever_its_calls_come(rounds: list[list[int]]) -> None:
    # Spring AI 1.x: each call reports its own counts and those of the calls before it.
    totals = {1: (100, 10), 2: (250, 15), 3: (450, 40)}
    books = MemoryBooks()
    for numbers in rounds:
        calls = [(number, llm_call(*totals[number], carried_on=number < 3)) for number in numbers]
        settle(books, *((number, facts(number, parent=9, tenant="acme", call=call)) for number, call in calls))
    assert sum(tokens(books).values()) == 490
    assert sum(books.spans().values()) == 3
