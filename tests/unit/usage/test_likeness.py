"""What looks for twins quickly sees all that the rules may join."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from spanmeter.pipeline.recent import RecentCalls
from spanmeter.usage.call import Key, SpanFacts, Usage, key_of
from spanmeter.usage.likeness import Look, are_unlike, look_of, may_be_twins
from spanmeter.usage.packing import unpacked
from spanmeter.usage.plain import PlainCall, unlike_others
from tests.spans import NOW_NS, arrival, facts, llm_call

USAGES = st.builds(
    Usage,
    input=st.sampled_from([0, 10, 10]),
    cache_read=st.sampled_from([0, 0, 10]),
    output=st.sampled_from([0, 5, 5, 10]),
    reasoning=st.sampled_from([0, 5]),
)
IDS = st.sampled_from(["", "", "chatcmpl-7", "chatcmpl-AAAAbbbbCCCC1111", "msg_AAAAbbbbCCCC2222"])


@st.composite
def calls(draw: st.DrawFn) -> list[SpanFacts]:
    """At the same time, of a trace each."""
    made = []
    for number in range(1, draw(st.integers(2, 5)) + 1):
        start_ns = NOW_NS + draw(st.sampled_from([0, 1, 2])) * 10**6
        made.append(
            facts(
                number,
                trace=number,
                scope=draw(st.sampled_from(["one", "two"])),
                service=draw(st.sampled_from(["s", "s", "t"])),
                start_ns=start_ns,
                end_ns=start_ns + 10**7,
                call=llm_call(
                    usage=draw(USAGES), response_id=draw(IDS), looks_back_ns=draw(st.sampled_from([0, 10**9]))
                ),
            )
        )
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


@given(calls())
def test_twins_are_found_among_recent_calls(spans: list[SpanFacts]) -> None:
    recent = RecentCalls(1)
    found: set[frozenset[Key]] = set()
    for span in spans:
        found |= {frozenset((key_of(span), key)) for _, key in recent.twins([span])}
        recent.add([arrival(1, span)[1:]], now_ns=1)
    assert twins(spans) <= found
