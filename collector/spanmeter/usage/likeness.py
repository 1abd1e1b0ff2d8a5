"""Whether two spans may record one call, as far as they alone can tell: who saw it, its counts, its model, its time."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from spanmeter.usage.call import SpanFacts, Usage, call_of
from spanmeter.usage.identity import is_specific
from spanmeter.usage.models import same_model
from spanmeter.usage.packing import Row
from spanmeter.usage.span import NO_PARENT

SLACK_NS = 5_000_000
"""Clocks of one process read at different places: a span inside another may stick out by so much."""

SHARED_SCOPES = frozenset({"opentelemetry.util.genai.handler"})
"""Of libraries that write the spans for several instrumentations of a process: opentelemetry-util-genai, LoongSuite's
and Splunk's (handler.py: `get_tracer(__name__, …)`)."""

Readings = tuple[tuple[int, int], ...]
"""Input and output tokens as instrumentations that know more or less may tell them."""

Look = tuple[str, str, str, Readings]
"""What may join a call to others wherever they are: service, who saw it, response id, counts."""


def seen_by(shape: SpanFacts, response_id: str) -> str:
    """Which instrumentation recorded a call with that response id. Of those that share a scope each has its operation,
    and either knows its client's ids or does not: LoongSuite's for google-adk and LangChain never set one, those for
    google-genai and LiteLLM always do."""
    if shape.scope not in SHARED_SCOPES or shape.call is None:
        return shape.scope
    return f"{shape.scope} {shape.call.operation} {bool(response_id)}"


def apart_by_seer(shape: SpanFacts, rows: Sequence[Row]) -> Iterable[tuple[str, Sequence[Row]]]:
    """The calls of one shape by who recorded them."""
    if shape.scope not in SHARED_SCOPES:
        return [(shape.scope, rows)]
    apart: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        apart[seen_by(shape, row[8])].append(row)
    return apart.items()


def seer_of(span: SpanFacts) -> str:
    return seen_by(span, call_of(span).response_id)


def readings(prompt: int, output: int, reasoning: int) -> Readings:
    """All input and output tokens; and without the reasoning, see `alike`."""
    if reasoning and prompt:
        return (prompt, output), (prompt, output - reasoning)
    return ((prompt, output),)


def readings_of(usage: Usage | None) -> Readings:
    return () if usage is None else readings(usage.all_input, usage.all_output, usage.reasoning)


def look_of(span: SpanFacts) -> Look:
    call = call_of(span)
    return span.service, seer_of(span), call.response_id, readings_of(call.usage)


def are_unlike(
    response_ids: Sequence[str], seers: Iterable[tuple[str, str]], looks: Callable[[], Sequence[Look]]
) -> list[bool]:
    """For each of some calls, whether no rule below joins it to another by response id or counts. `seers` are all
    services and who saw calls of theirs; `looks` are asked for where counts can matter.

    It asks for less than the rules do (ids of any form, any two instrumentations with equal counts), and so never
    misses a bond.
    """
    ids = Counter(response_ids)
    ids[""] = 0
    of_service: dict[str, set[str]] = defaultdict(set)
    for service, seer in seers:
        of_service[service].add(seer)
    several = {service for service, found in of_service.items() if len(found) > 1}
    shared = _shared_counts([look for look in looks() if look[0] in several]) if several else set()
    if not shared:
        return [ids[response_id] < 2 for response_id in response_ids]
    return [
        ids[response_id] < 2 and shared.isdisjoint([(service, counts) for counts in told])
        for service, _, response_id, told in looks()
    ]


def _shared_counts(looks: Sequence[Look]) -> set[tuple[str, tuple[int, int]]]:
    """Counts that several instrumentations of a service reported. Calls whose prompt is unknown may be any of the same
    output's: see `alike`."""
    seers: dict[tuple[str, tuple[int, int]], set[str]] = defaultdict(set)
    for service, seer, _, told in looks:
        for counts in told:
            seers[service, counts].add(seer)
    shared = {alike for alike, seen in seers.items() if len(seen) > 1}
    without_prompt = {(service, output) for service, (prompt, output) in seers if not prompt}
    if without_prompt:
        of_output: dict[tuple[str, int], set[str]] = defaultdict(set)
        for (service, (_, output)), seen in seers.items():
            of_output[service, output] |= seen
        mixed = {key for key in without_prompt if len(of_output[key]) > 1}
        shared.update(alike for alike in seers if (alike[0], alike[1][1]) in mixed)
    return shared


def reach_ns(span: SpanFacts) -> int:
    return span.start_ns - max(SLACK_NS, call_of(span).looks_back_ns)


def reach_end_ns(span: SpanFacts) -> int:
    return span.end_ns + max(SLACK_NS, call_of(span).looks_ahead_ns)


def distance(one: SpanFacts, other: SpanFacts) -> tuple[bool, int]:
    """How far apart two records are that may be of one call: least under one parent, then by their times (ns). Times
    alone would mix up equal calls at once where one's records last longer (google-adk's until the tools have run)."""
    are_siblings = one.trace_id == other.trace_id and one.parent_span_id == other.parent_span_id != NO_PARENT
    return not are_siblings, abs(one.start_ns - other.start_ns) + abs(one.end_ns - other.end_ns)


def may_be_twins(one: SpanFacts, other: SpanFacts) -> bool:
    """Whether two calls may be one, seen by two instrumentations of a service."""
    return (
        one.service == other.service and alike(call_of(one).usage, call_of(other).usage) and _side_by_side(one, other)
    )


def _side_by_side(one: SpanFacts, other: SpanFacts) -> bool:
    """Whether two calls with equal counts may be one, seen by two instrumentations, as far as they alone can tell."""
    ids = {call_of(span).response_id for span in (one, other)} - {""}
    return (
        seer_of(one) != seer_of(other)
        and len([response_id for response_id in ids if is_specific(response_id)]) < 2
        and same_model(models_of(one), models_of(other))
        and (_within(one, other) or _within(other, one))
    )


def _within(inner: SpanFacts, outer: SpanFacts) -> bool:
    """In time. A span that reports on an earlier call reaches back before its start, one that ends before its call
    begins reaches ahead; the call may be as long as it likes."""
    back, ahead = call_of(outer).looks_back_ns, call_of(outer).looks_ahead_ns
    if back or ahead:
        return outer.start_ns - back <= inner.start_ns and inner.start_ns <= outer.end_ns + ahead
    return outer.start_ns - SLACK_NS <= inner.start_ns and inner.end_ns <= outer.end_ns + SLACK_NS


def models_of(span: SpanFacts) -> tuple[str, ...]:
    return call_of(span).request_model, call_of(span).response_model


def equal_counts(one: Usage | None, other: Usage | None) -> bool:
    return (one.all_input, one.all_output) == (other.all_input, other.all_output) if one and other else one is other


def alike(one: Usage | None, other: Usage | None) -> bool:
    """Equal counts, as far as both prompts are known, or equal but for the reasoning that one of them left out."""
    if one is None or other is None:
        return False
    if one.all_output == other.all_output:
        return one.all_input == other.all_input or not one.all_input or not other.all_input
    return leaves_out_reasoning(one, other) or leaves_out_reasoning(other, one)


def leaves_out_reasoning(short: Usage | None, whole: Usage) -> bool:
    """Whether the one knows nothing of the reasoning that the other tells of, with the same prompt and answer: where a
    provider counts them apart (Gemini's candidates and thoughts), some take the answer's tokens for all."""
    return (
        short is not None
        and whole.reasoning > short.reasoning == 0
        and short.all_input == whole.all_input > 0
        and short.output == whole.output
    )


def can_agree(outer: Usage, inner: Usage | None) -> bool:
    """Whether two readings of one call may differ so: one side equal, or equal but for cached tokens or reasoning."""
    if inner is None:
        return True
    inputs = {outer.all_input, outer.input} & {inner.all_input, inner.input}
    outputs = {outer.all_output, outer.output} & {inner.all_output, inner.output}
    return bool((inputs - {0}) or (outputs - {0}))
