"""Calls that are told apart beforehand are decided as they would be among all others."""

from collections.abc import Collection, Mapping
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from spanmeter.usage import grouping
from spanmeter.usage.call import Key, Role, SpanFacts, Usage
from spanmeter.usage.decision import Decision, DecisionRules, decide
from spanmeter.usage.likeness import SHARED_SCOPES
from spanmeter.usage.trace import Trace, is_call
from tests.spans import NOW_NS, facts, llm_call, parent_id, span_id, trace_id

[SHARED] = SHARED_SCOPES
IDS = ["", "", "", "chatcmpl-1", "chatcmpl-AAAAbbbbCCCC1111", "msg_AAAAbbbbCCCC2222"]
CALLS = st.one_of(
    st.none(),
    st.builds(
        llm_call,
        usage=st.builds(
            Usage,
            input=st.sampled_from([0, 1, 10, 20, 40]),
            output=st.sampled_from([0, 5, 7]),
            reasoning=st.sampled_from([0, 0, 2, 5]),
        ),
        role=st.sampled_from([Role.CALL] * 5 + [Role.AGGREGATE, Role.IGNORED]),
        response_id=st.sampled_from(IDS),
        operation=st.sampled_from(["chat", "chat", "generate_content"]),
        request_model=st.sampled_from(["gpt-4o", "gpt-4o", "claude"]),
        estimated=st.sampled_from([False, False, True]),
        sole_source=st.booleans(),
        looks_back_ns=st.sampled_from([0, 0, 10**9]),
        looks_ahead_ns=st.sampled_from([0, 0, 10**9]),
        mixes_up=st.sampled_from([False, False, True]),
        carried_on=st.sampled_from([False, False, True]),
    ),
    st.builds(llm_call, usage=st.none(), problem=st.sampled_from(["", "", "negative"]), is_error=st.booleans()),
)


@st.composite
def spans(draw: st.DrawFn) -> SpanFacts:
    start_ns = NOW_NS + draw(st.sampled_from([0, 1, 5, 500])) * 10**6
    return facts(
        draw(st.integers(1, 6)),
        trace=draw(st.integers(1, 5)),
        parent=draw(st.integers(0, 7)),
        call=(call := draw(CALLS)),
        is_tool=call is None and draw(st.booleans()),
        tenant=draw(st.sampled_from(["", "acme", "bolt"])),
        baggage_tenant=draw(st.sampled_from(["", "", "acme", "carried"])),
        credential_tenant=draw(st.sampled_from(["", "", "", "acme", "bolt"])),
        unusable_tenants=draw(st.sampled_from([(), (), (), ("x", "y")])),
        resource_tenant=draw(st.sampled_from(["", "house"])),
        scope=draw(st.sampled_from(["one", "one", "two", SHARED])),
        service=draw(st.sampled_from(["s", "s", "t"])),
        start_ns=start_ns,
        end_ns=start_ns + draw(st.sampled_from([1, 10, 600])) * 10**6,
    )


def among_all(
    traces: Mapping[bytes, Trace],
    *,
    billed: Mapping[Key, str],
    older: Collection[SpanFacts],
    older_traces: Mapping[bytes, Trace],
    rules: DecisionRules,
) -> list[Decision]:
    """The decisions if no call were told apart."""
    every = [span for trace in traces.values() for span in trace.calls_of_models()]
    with patch.object(grouping, "_told_apart", lambda traces, older: ([], every)):
        return decide(traces, billed=billed, rules=rules, older=older, older_traces=older_traces)


@given(
    st.lists(spans(), min_size=1, max_size=14),
    st.lists(spans(), max_size=5),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 7)), max_size=5),
    st.booleans(),
    st.data(),
)
def test_the_same_decisions(
    new: list[SpanFacts],
    old: list[SpanFacts],
    links: list[tuple[int, int, int]],
    bill_estimates: bool,
    data: st.DataObject,
) -> None:
    traces: dict[bytes, Trace] = {}
    for span in new:
        traces.setdefault(span.trace_id, Trace()).facts[span.span_id] = span
    for trace, number, parent in links:
        if trace_id(trace) in traces:
            traces[trace_id(trace)].links[span_id(number)] = parent_id(parent)
    older_traces: dict[bytes, Trace] = {}
    for span in old:
        if span.trace_id not in traces:
            older_traces.setdefault(span.trace_id, Trace()).facts[span.span_id] = span
    older = {
        (trace, number): span
        for trace, known in older_traces.items()
        for number, span in known.facts.items()
        if is_call(span) and data.draw(st.booleans())
    }
    spans_by_key = {(span.trace_id, span.span_id): span for span in new} | older
    with_counts = [key for key, span in spans_by_key.items() if span.call and span.call.usage]
    billed = {key: f"billed-{at}" for at, key in enumerate(with_counts) if data.draw(st.booleans())}
    rules = DecisionRules(bill_estimates=bill_estimates)
    found = decide(traces, billed=billed, rules=rules, older=older.values(), older_traces=older_traces)
    assert found == among_all(traces, billed=billed, older=older.values(), older_traces=older_traces, rules=rules)


def test_the_helper_would_notice() -> None:
    """Two instrumentations of one call are not told apart; if they were, both would be billed."""
    one, two = facts(1, tenant="acme", scope="one"), facts(2, tenant="acme", scope="two", start_ns=facts(1).start_ns)
    traces = {trace_id(1): Trace(facts={one.span_id: one, two.span_id: two})}
    right = decide(traces, billed={}, rules=DecisionRules())
    with patch.object(grouping, "_told_apart", lambda traces, older: ([one, two], [])):
        wrong = decide(traces, billed={}, rules=DecisionRules())
    assert right != wrong
