"""Tool loops in which every call reports the sum so far: which later call's counts hold which earlier one's.

A call of such an instrumentation that asked for tools (`LlmCall.carried_on`) is followed by another under the same
parent, of the same scope and model, that starts after it has ended. The prompt of that one holds the whole conversation
and so is no shorter than the one before: where the counts have grown by less, the instrumentation did not add up.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable

from spanmeter.usage.call import Key, SpanFacts
from spanmeter.usage.models import same_model


def carried_over(calls: Iterable[SpanFacts]) -> dict[Key, SpanFacts]:
    """By trace id and span id of the later call, the earlier one whose counts it holds, with all that that one holds.

    Depends on the set of calls, not on their order.
    """
    counted = [span for span in calls if span.call is not None and span.call.usage is not None and span.parent_span_id]
    if not any(span.call is not None and span.call.carried_on for span in counted):
        return {}
    places: dict[tuple[bytes, bytes, str], list[SpanFacts]] = defaultdict(list)
    for span in counted:
        places[span.trace_id, span.parent_span_id, span.scope].append(span)
    held: dict[Key, SpanFacts] = {}
    for spans in places.values():
        spans.sort(key=lambda span: (span.start_ns, span.span_id))
        for before, after in itertools.pairwise(spans):
            if _holds(after, before, held.get((before.trace_id, before.span_id))):
                held[after.trace_id, after.span_id] = before
    return held


def _holds(after: SpanFacts, before: SpanFacts, held_before: SpanFacts | None) -> bool:
    one, other = before.call, after.call
    assert one is not None and other is not None and one.usage is not None and other.usage is not None
    last_prompt = one.usage.all_input - _all_input(held_before)
    return (
        one.carried_on
        and before.end_ns <= after.start_ns
        and same_model((one.request_model, one.response_model), (other.request_model, other.response_model))
        and other.usage.all_input - one.usage.all_input >= last_prompt
        and other.usage.all_output >= one.usage.all_output
    )


def _all_input(span: SpanFacts | None) -> int:
    return span.call.usage.all_input if span is not None and span.call is not None and span.call.usage else 0
