"""What looks for twins quickly sees all that the rules may join, and these join no two of one instrumentation."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from spanmeter.pipeline.recent import RecentCalls
from spanmeter.usage.call import Key, SpanFacts, Usage, call_of, key_of
from spanmeter.usage.grouping import group_calls
from spanmeter.usage.identity import is_specific
from spanmeter.usage.likeness import SHARED_SCOPES, Look, are_unlike, look_of, may_be_twins, seer_of
from spanmeter.usage.packing import packed, unpacked
from spanmeter.usage.plain import PlainCall, unlike_others
from spanmeter.usage.trace import Trace
from tests.spans import NOW_NS, SPECIFIC_ID, arrival, facts, llm_call

USAGES = st.builds(
    Usage,
    input=st.sampled_from([0, 10, 10]),
    cache_read=st.sampled_from([0, 0, 10]),
    output=st.sampled_from([0, 5, 5, 10]),
    reasoning=st.sampled_from([0, 5]),
)
[SHARED] = SHARED_SCOPES
IDS = st.sampled_from(["", "", "chatcmpl-7", "chatcmpl-AAAAbbbbCCCC1111", "msg_AAAAbbbbCCCC2222"])


@st.composite
def calls(draw: st.DrawFn) -> list[SpanFacts]:
    """At the same time, of a trace each."""
    made = []
    for number in range(1, draw(st.integers(2, 5)) + 1):
        start_ns = NOW_NS + draw(st.sampled_from([0, 1, 2])) * 10**6
        call = llm_call(
            usage=draw(USAGES),
            response_id=draw(IDS),
            operation=draw(st.sampled_from(["chat", "generate_content"])),
            looks_back_ns=draw(st.sampled_from([0, 10**9])),
        )
        scope, service = draw(st.sampled_from(["one", "two", SHARED])), draw(st.sampled_from(["s", "s", "t"]))
        times = {"start_ns": start_ns, "end_ns": start_ns + 10**7}
        made.append(facts(number, trace=number, scope=scope, service=service, call=call, **times))
    return made


def twins(spans: Sequence[SpanFacts]) -> set[frozenset[Key]]:
    return {frozenset(map(key_of, pair)) for pair in combinations(spans, 2) if may_be_twins(*pair)}


def plain(span: SpanFacts) -> PlainCall:
    made = arrival(1, span)
    _, shape, row = made
    assert unpacked(shape, row) == span
    return PlainCall(shape, row, "acme", "an identity", [made], {})


@given(calls())
def test_twins_are_not_unlike(spans: list[SpanFacts]) -> None:
    found = twins(spans)
    looks: list[Look] = [*map(look_of, spans)]
    unlike = are_unlike([look[2] for look in looks], {look[:2] for look in looks}, lambda: looks)
    apart = {key_of(span) for span, is_unlike in zip(spans, unlike, strict=True) if is_unlike}
    assert not any(apart & pair for pair in found)
    assert unlike_others([*map(plain, spans)], []) == unlike
    for at in range(len(spans)):
        few, others = spans[:at], spans[at:]
        assert unlike_others([*map(plain, few)], [*map(look_of, others)]) == unlike[:at]


def found_among(older: Sequence[SpanFacts], spans: Sequence[SpanFacts]) -> set[tuple[Key, Key]]:
    known, recent = packed(older), RecentCalls(1)
    recent.add(((known.shapes[row[0]], row) for row in known.rows), now_ns=1)
    return {(key_of(span), key) for span, key in recent.twins(spans)}


@given(calls())
def test_twins_are_found_among_recent_calls(spans: list[SpanFacts]) -> None:
    for at in range(len(spans)):
        older, newer = spans[:at], spans[at:]
        expected = {(key_of(one), key_of(other)) for one in newer for other in older if may_be_twins(one, other)}
        assert expected <= found_among(older, newer)


def test_calls_of_one_shape_with_and_without_an_id() -> None:
    without, having, twin = [
        facts(n, trace=n, scope=SHARED, start_ns=NOW_NS, call=llm_call(counts, response_id=response_id))
        for n, counts, response_id in ((1, 99, ""), (2, 10, SPECIFIC_ID), (3, 10, ""))
    ]
    assert len(packed([without, having]).shapes) == 1
    assert found_among([without, having], [twin]) == {(key_of(twin), key_of(having))}


@given(calls())
def test_two_of_one_instrumentation_stay_two(spans: list[SpanFacts]) -> None:
    traces = {span.trace_id: Trace(facts={span.span_id: span}) for span in spans}
    for group in group_calls(traces).groups:
        for one, other in combinations(group.members.values(), 2):
            if seer_of(one) == seer_of(other):
                ids = {call_of(span).response_id for span in (one, other)}
                assert len(ids) == 1
                assert all(map(is_specific, ids))
