"""Plain calls are billed as the rules for all calls would bill them: to the byte, in the books and in what is kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanmeter.errors import ConflictError
from spanmeter.pipeline.accounting import Gathered, Rules, settle_traces
from spanmeter.pipeline.plain import event_forms
from spanmeter.pipeline.recent import RecentCalls
from spanmeter.store.ledger import Settlement
from spanmeter.usage.call import Role, SpanFacts, TokenClass, Usage
from spanmeter.usage.decision import DecisionRules
from spanmeter.usage.event import EventRules
from spanmeter.usage.identity import response_identity
from spanmeter.usage.likeness import SHARED_SCOPES
from spanmeter.usage.plain import PlainShapes
from tests.spans import NOW_NS, SPECIFIC_ID, arrival, facts, llm_call, parent_id, span_id, trace_id
from tests.unit.store.books import MemoryBooks

ODD_ID = "chatcmpl/AAAAbbbbCCCC1111"
"""Bears a name that is not its own."""
[SHARED] = SHARED_SCOPES
IDS = [
    *("", "", "chatcmpl-1", "chatcmpl-AAAAbbbbCCCC1111", "msg_AAAAbbbbCCCC2222", "resp_0123456789abcdef"),
    *(ODD_ID, response_identity(ODD_ID), f"{trace_id(1).hex()}-{span_id(1).hex()}"),
]
COUNTS = st.sampled_from([0, 0, 1, 10, 10, 40])
USAGES = st.builds(Usage, input=COUNTS, cache_read=COUNTS, cache_write=COUNTS, output=COUNTS, reasoning=COUNTS)
TEXTS = st.one_of(st.sampled_from(["", "gpt-4o", "gpt-4o", "mistral/large"]), st.text(max_size=4))
TENANTS = st.one_of(st.sampled_from(["", "", "acme", "bolt", 'Zoë "Ω"\\\n']), st.text(max_size=3))
CALLS = st.one_of(
    st.none(),
    st.builds(
        llm_call,
        usage=st.one_of(USAGES, USAGES, USAGES, st.none()),
        role=st.sampled_from([Role.CALL] * 6 + [Role.AGGREGATE, Role.IGNORED]),
        response_id=st.sampled_from(IDS),
        operation=TEXTS,
        provider=TEXTS,
        request_model=TEXTS,
        response_model=TEXTS,
        problem=st.sampled_from([*[""] * 9, "negative"]),
        estimated=st.sampled_from([False, False, False, True]),
        carried_on=st.sampled_from([False] * 5 + [True]),
        mixes_up=st.sampled_from([False] * 5 + [True]),
        looks_back_ns=st.sampled_from([0, 0, 10**9]),
    ),
)


@st.composite
def spans(draw: st.DrawFn) -> SpanFacts:
    start_ns = NOW_NS + draw(st.sampled_from([0, 1, 5, 500])) * 10**6
    call = draw(CALLS)
    return facts(
        draw(st.integers(1, 4)),
        trace=draw(st.integers(1, 6)),
        parent=draw(st.sampled_from([0, 0, 0, 1, 2, 5])),
        parent_is_remote=draw(st.sampled_from([None, True, False])),
        call=call,
        is_tool=call is None and draw(st.booleans()),
        tenant=draw(TENANTS),
        tenant_key="tenant.id",
        baggage_tenant=draw(st.sampled_from(["", "", "", "carried"])),
        credential_tenant=draw(st.sampled_from(["", "", "", "owner"])),
        unusable_tenants=draw(st.sampled_from([(), (), (), ("x", "y")])),
        resource_tenant=draw(st.sampled_from(["", "", "house"])),
        dimensions=draw(st.sampled_from([(), (), (("tier", "gold"),), (("é", "\t"), ("model", "other"))])),
        scope=draw(st.sampled_from(["one", "one", "two", SHARED])),
        service=draw(st.sampled_from(["s", "s", "t"])),
        start_ns=start_ns,
        end_ns=start_ns + draw(st.sampled_from([1, 10, 600_000])) * 10**6,
    )


RULES = st.builds(
    Rules,
    events=st.builds(
        EventRules,
        classes=st.sampled_from([(TokenClass.INPUT, TokenClass.OUTPUT), tuple(TokenClass)]),
        type_names=st.sampled_from([{}, {TokenClass.INPUT: "request", TokenClass.OUTPUT: "response"}]),
        konnect_provider_names=st.booleans(),
    ),
    decisions=st.builds(
        DecisionRules, default_subject=st.sampled_from(["", "", "house"]), bill_estimates=st.booleans()
    ),
)
SPECIFIC = llm_call(response_id=SPECIFIC_ID)
WITHOUT_TOKENS = llm_call(0, 0, response_id=SPECIFIC_ID)
Link = tuple[int, int, int]
Round = tuple[Sequence[SpanFacts], Sequence[Link]]
ROUNDS = st.lists(
    st.tuples(
        st.lists(spans(), min_size=1, max_size=8),
        st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 5)), max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def told(settlement: Settlement) -> list[Any]:
    return [
        settlement.all_decisions(),
        sorted(zip(settlement.all_bodies(), settlement.all_events(), strict=True)),
        settlement.held,
        sorted(settlement.released),
        settlement.tallies,
        dict(settlement.all_memories()),
    ]


def settled(rounds: Sequence[Round], rules: Rules, *, presume_new: bool = False) -> tuple[list[Any], int]:
    """What each round came to, and how many calls were plain. With `presume_new` the books are asked only where they
    refuse a round."""
    books, recent = MemoryBooks(), RecentCalls(1 << 62)
    rounds_told, plain = [], 0
    for row, (some, links) in enumerate(rounds, start=1):
        gathered: dict[bytes, Gathered] = {}
        for span in some:
            gathered.setdefault(span.trace_id, Gathered()).arrivals.append(arrival(row, span))
        for trace, number, parent in links:
            if trace_id(trace) in gathered:
                gathered[trace_id(trace)].links[span_id(number)] = parent_id(parent)
        try:
            settlement = settle_traces(gathered, books, rules=rules, recent=recent, presume_new=presume_new)
            books.settle(settlement, now_ns=row, deliver=True)
        except ConflictError:
            assert presume_new
            settlement = settle_traces(gathered, books, rules=rules, recent=recent)
            books.settle(settlement, now_ns=row, deliver=True)
        recent.add((one[1:] for trace in gathered.values() for one in trace.arrivals), now_ns=row)
        rounds_told.append(told(settlement))
        plain += len(settlement.plain)
    return [*rounds_told, books.traces, books.held, books.tallies, books.events], plain


def without_plain(make: Callable[[], tuple[list[Any], int]]) -> list[Any]:
    with patch.object(PlainShapes, "call_of", lambda *_: None):
        general, plain = make()
    assert plain == 0
    return general


@given(ROUNDS, RULES)
@example([([facts(tenant="acme"), facts(trace=2, tenant="bolt")], [])], Rules())
def test_as_all_others(rounds: list[Round], rules: Rules) -> None:
    found, _ = settled(rounds, rules)
    assert found == without_plain(lambda: settled(rounds, rules))


@given(ROUNDS, RULES)
@example([([facts(1, tenant="acme")], []), ([facts(2, tenant="acme")], [])], Rules())
@example([([facts(trace=trace, tenant="acme", call=SPECIFIC)], []) for trace in (1, 2)], Rules())
@example(
    [
        ([facts(trace=1, tenant="acme", call=SPECIFIC)], []),
        ([facts(trace=2, tenant="acme", call=WITHOUT_TOKENS)], []),
    ],
    Rules(),
)
@example([([facts(trace=2, call=SPECIFIC)], []), ([facts(trace=1, tenant="acme", call=SPECIFIC)], [])], Rules())
def test_what_the_books_refuse_is_decided_as_if_they_had_been_asked(rounds: list[Round], rules: Rules) -> None:
    assert settled(rounds, rules, presume_new=True) == settled(rounds, rules)


@given(spans(), RULES)
def test_each_count_is_billed_once_on_its_side(span: SpanFacts, rules: Rules) -> None:
    span = replace(span, call=llm_call())
    forms = event_forms(span, rules.events)
    for form in forms:
        is_output = form.like.token_class in (TokenClass.OUTPUT, TokenClass.REASONING)
        assert all((at >= 3) is is_output for at in (form.first, *form.rest))


def test_a_count_that_no_event_has_is_no_form_of_a_bill() -> None:
    lost = [*[TokenClass.INPUT] * 3, TokenClass.OUTPUT, None]
    event_forms.cache_clear()
    with patch("spanmeter.pipeline.plain.part_classes", lambda _: lost), pytest.raises(AssertionError, match="billed"):
        event_forms(facts(), EventRules())
    assert [form.like.token_class for form in event_forms(facts(), EventRules())] == [
        TokenClass.INPUT,
        TokenClass.OUTPUT,
    ]


def test_most_calls_are_plain() -> None:
    alone = [facts(trace=trace, tenant="acme", call=llm_call(trace)) for trace in range(1, 5)]
    below = [facts(1, trace=5, call=None, tenant="bolt"), facts(2, trace=5, parent=1, call=llm_call(99))]
    _, plain = settled([([*alone, *below], [])], Rules())
    assert plain == 5


def test_the_helper_would_notice() -> None:
    """Two records of one call are not plain; if they were, it would be billed twice."""
    rounds: list[Round] = [([facts(trace=trace, tenant="acme", scope=f"scope {trace}") for trace in (1, 2)], [])]
    with patch("spanmeter.pipeline.plain.unlike_others", lambda calls, others: [True] * len(calls)):
        wrong, plain = settled(rounds, Rules())
    assert plain == 2
    assert wrong != without_plain(lambda: settled(rounds, Rules()))
