"""Calls that report the sum of their tool loop so far, as Spring AI 1.1.2 was captured doing."""

from dataclasses import replace
from typing import Any

import pytest

from spanmeter.usage.call import SpanFacts, Usage
from spanmeter.usage.decision import Decision
from spanmeter.usage.outcome import Outcome, Reason
from tests.spans import facts, llm_call, span_id
from tests.unit.usage.test_decision import decided


def loop(*counts: tuple[int, int], first: int = 2, parent: int = 1) -> list[SpanFacts]:
    """One after the other under the same parent; all but the last asked for tools."""
    return [
        facts(
            first + at,
            parent=parent,
            tenant="acme",
            call=llm_call(input_tokens, output_tokens, carried_on=at + 1 < len(counts)),
        )
        for at, (input_tokens, output_tokens) in enumerate(counts)
    ]


def billed(found: dict[int, Decision]) -> Usage:
    usages = [decision.usage for decision in found.values() if decision.outcome is Outcome.BILLED]
    return Usage(input=sum(one.all_input for one in usages), output=sum(one.all_output for one in usages))


def test_the_last_call_stands_for_its_loop() -> None:
    found = decided(*loop((100, 10), (250, 15), (450, 40)))
    assert [found[number].outcome for number in (2, 3, 4)] == [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.BILLED]
    assert (found[2].reason, found[2].same_as) == (Reason.CARRIED_OVER, span_id(3))
    assert billed(found) == Usage(input=450, output=40)


def test_what_was_billed_before_the_rest_came_is_not_billed_again() -> None:
    first, second, third = loop((100, 10), (250, 15), (450, 40))
    before = {(first.trace_id, first.span_id): "a"}
    found = decided(first, second, third, billed=before)
    assert found[2].outcome is Outcome.BILLED
    assert found[3].outcome is Outcome.DUPLICATE
    assert found[4].usage == Usage(input=350, output=30)
    late = decided(first, second, third, billed={(third.trace_id, third.span_id): "c"})
    assert [late[number].outcome for number in (2, 3, 4)] == [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.BILLED]


def test_counts_that_grow_by_less_than_the_last_prompt_are_each_call_s_own() -> None:
    # The application runs the tools itself: each prompt is the conversation so far.
    found = decided(*loop((100, 10), (130, 15), (170, 40)))
    assert billed(found) == Usage(input=400, output=65)


def test_another_request_in_the_same_place_is_not_in_the_loop() -> None:
    asked = loop((100, 10), (250, 15))
    again = loop((600, 20), first=8)
    assert billed(decided(*asked, *again)) == Usage(input=850, output=35)
    elsewhere = [*loop((100, 10), (250, 15)), facts(20, parent=19, tenant="acme", call=llm_call(900, 90))]
    assert billed(decided(*elsewhere)) == Usage(input=1150, output=105)


def seen_below(number: int, inside: SpanFacts, *counts: int, **fields: Any) -> SpanFacts:
    """Another record of a call, with its own counts: a gateway's, or that of the SDK."""
    return replace(
        inside,
        span_id=span_id(number),
        parent_span_id=inside.span_id,
        scope="gateway",
        tenant="",
        call=llm_call(*counts, **fields),
    )


@pytest.mark.parametrize("missing", [(), (12,), (13,), (14,), (12, 13), (13, 14), (12, 14)])
def test_calls_that_are_recorded_further_inside_too_are_billed_once(missing: tuple[int, ...]) -> None:
    calls = loop((100, 10), (250, 15), (450, 40))
    own = [(100, 10), (150, 5), (200, 25)]
    below = [seen_below(12 + at, call, *own[at]) for at, call in enumerate(calls) if 12 + at not in missing]
    assert billed(decided(*calls, *below)) == Usage(input=450, output=40)
    for one in below:  # and in whatever order they come
        known = {(one.trace_id, one.span_id): "before"}
        assert billed(decided(*calls, *below, billed=known)) == Usage(input=450, output=40)


def test_sums_that_another_instrumentation_hands_on() -> None:
    calls = loop((100, 10), (250, 15), (450, 40))
    below = [
        seen_below(12 + at, call, *counts)
        for at, (call, counts) in enumerate(zip(calls, [(100, 10), (250, 15), (450, 40)], strict=True))
    ]
    assert billed(decided(*calls, below[2])) == Usage(input=450, output=40)
    assert billed(decided(*calls, below[1])) == Usage(input=450, output=40)
