"""Which spans record the same call: two instrumentations of one client, a framework above it, a gateway below it.

Spans are joined by what they say, strongest first: the provider's response id; one inside the other; side by side at
the same time with the same counts. What the counts and times must look like is said at each rule. Two spans of the
same instrumentation are never the same call by looks alone: identical prompts in parallel are legitimate.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter
from types import MappingProxyType

from spanmeter.usage.call import Key, SpanFacts, Usage, call_of, key_of
from spanmeter.usage.identity import is_specific
from spanmeter.usage.likeness import (
    are_unlike,
    can_agree,
    distance,
    equal_counts,
    look_of,
    may_be_twins,
    models_of,
    reach_end_ns,
    reach_ns,
    readings_of,
    seer_of,
)
from spanmeter.usage.loops import carried_over
from spanmeter.usage.models import same_model
from spanmeter.usage.trace import Trace, is_call

MOST_NEIGHBOURS = 64

_NO_TRACES: Mapping[bytes, Trace] = MappingProxyType({})
_NO_IDENTITIES: Mapping[Key, str] = MappingProxyType({})


class Bond(IntEnum):
    """Why a span belongs to a group, strongest first."""

    SAME_RESPONSE = 0
    NESTED = 1
    SIDE_BY_SIDE = 2


@dataclass(slots=True)
class Group:
    """Spans that record one call. `bonds` says for each but the first why it belongs."""

    members: dict[Key, SpanFacts] = field(default_factory=dict)
    bonds: dict[Key, Bond] = field(default_factory=dict)

    @property
    def seers(self) -> set[str]:
        return {seer_of(span) for span in self.members.values()}


@dataclass(slots=True)
class Grouping:
    """Every span that is a call is in exactly one of these. `alone`: calls that no other span records. `sums`: calls
    that turned out to be sums over calls inside them."""

    alone: list[SpanFacts]
    groups: list[Group]
    sums: list[SpanFacts]


def group_calls(
    traces: Mapping[bytes, Trace],
    *,
    older: Iterable[SpanFacts] = (),
    older_traces: Mapping[bytes, Trace] = _NO_TRACES,
    older_identities: Mapping[Key, str] = _NO_IDENTITIES,
) -> Grouping:
    """Group the calls of these traces, and with them `older` calls of other traces, decided before; what was found to
    record one call then, by `older_identities`, still does.

    The result depends on the set of spans, not on their order.
    """
    older = list(older)
    alone, entangled = _told_apart(traces, older)
    grouping = Grouping([], [], [])
    if entangled:
        grouping = group_entangled(
            [*entangled, *older], traces, around={**older_traces, **traces}, known=older_identities
        )
    grouping.alone = alone
    return grouping


def group_entangled(
    calls: Sequence[SpanFacts],
    traces: Mapping[bytes, Trace],
    *,
    around: Mapping[bytes, Trace],
    known: Mapping[Key, str] = _NO_IDENTITIES,
) -> Grouping:
    """Group calls of which any may record the same call as any other. `around` are the traces of all of them, `traces`
    those that are decided now, `known` the calls that some were found to record before."""
    calls = sorted(calls, key=lambda span: (span.trace_id not in traces, span.start_ns, span.trace_id, span.span_id))
    joined = _Joined(calls)
    first: dict[str, SpanFacts] = {}
    for span in calls:
        if key_of(span) in known:
            joined.join(first.setdefault(known[key_of(span)], span), span, Bond.SIDE_BY_SIDE)
    _join_responses(calls, joined)
    sums = _join_nested(calls, traces, joined)
    summed = {key_of(span) for span in sums}
    _join_side_by_side([span for span in calls if key_of(span) not in summed], around, joined)
    groups, sums = [], []
    for group in joined.groups():
        if summed & group.members.keys():  # further records of the sum are sums too
            sums += group.members.values()
        else:
            groups.append(group)
    return Grouping([], groups, sums)


def _told_apart(traces: Mapping[bytes, Trace], older: Sequence[SpanFacts]) -> tuple[list[SpanFacts], list[SpanFacts]]:
    """The calls that no rule below can join to another, and the rest. Nearly all calls are of the first kind: seen by
    one instrumentation, with a response id and counts of their own, no call inside another.

    A trace with calls that carry on is left to the rules as a whole, see `loops`.
    """
    calls: list[SpanFacts] = []
    nested: set[Key] = set()
    for trace in traces.values():
        spans = trace.calls_of_models()
        calls += spans
        if len(spans) > 1:
            for span in spans:
                outer = _outer_call(span, trace)
                if outer is not None:
                    nested |= {key_of(span), key_of(outer)}
    looping = {span.trace_id for span in (*calls, *older) if call_of(span).carried_on}
    alone: list[SpanFacts] = []
    entangled: list[SpanFacts] = []
    looks = [*map(look_of, calls), *map(look_of, older)]
    unlike = are_unlike([look[2] for look in looks], {look[:2] for look in looks}, lambda: looks)
    for span, is_unlike in zip(calls, unlike, strict=False):  # those of older ones are left over
        if not is_unlike or (nested and key_of(span) in nested) or span.trace_id in looping:
            entangled.append(span)
        else:
            alone.append(span)
    return alone, entangled


class _Joined:
    """Groups under construction."""

    def __init__(self, calls: Sequence[SpanFacts]) -> None:
        self._of = {key_of(span): Group({key_of(span): span}) for span in calls}

    def of(self, span: SpanFacts) -> Group:
        return self._of[key_of(span)]

    def join(self, one: SpanFacts, other: SpanFacts, bond: Bond) -> None:
        kept, gone = self.of(one), self.of(other)
        if kept is gone:
            return
        for key, span in gone.members.items():
            kept.members[key] = span
            kept.bonds[key] = min(bond, gone.bonds.get(key, bond))
            self._of[key] = kept
        for key in kept.members:
            kept.bonds.setdefault(key, bond)

    def groups(self) -> Iterator[Group]:
        seen: set[int] = set()
        for group in self._of.values():
            if id(group) not in seen:
                seen.add(id(group))
                yield group


def _join_responses(calls: Sequence[SpanFacts], joined: _Joined) -> None:
    """Equal response ids are one call, whatever the traces. Where one instrumentation reports different counts under
    the same id, a server reuses ids: those stay apart."""
    by_id: dict[str, list[SpanFacts]] = defaultdict(list)
    for span in calls:
        if is_specific(call_of(span).response_id):
            by_id[call_of(span).response_id].append(span)
    for spans in by_id.values():
        for at, span in enumerate(spans):
            for earlier in spans[:at]:
                if seer_of(span) != seer_of(earlier) or equal_counts(call_of(span).usage, call_of(earlier).usage):
                    joined.join(earlier, span, Bond.SAME_RESPONSE)
                    break


def _join_nested(calls: Sequence[SpanFacts], traces: Mapping[bytes, Trace], joined: _Joined) -> list[SpanFacts]:
    """A call inside a call of the same model is the same call seen from further inside, if their counts can agree; an
    outer call whose counts cover several inner ones is their sum. Returns those sums. A call that reports those before
    it too (see `loops`) is also compared by what it adds to them."""
    carried = carried_over(calls)
    inside: dict[Key, list[SpanFacts]] = defaultdict(list)
    outer_of: dict[Key, SpanFacts] = {}
    for span in calls:
        trace = traces.get(span.trace_id)
        outer = _outer_call(span, trace) if trace is not None else None
        if outer is not None:
            inside[key_of(outer)].append(span)
            outer_of[key_of(outer)] = outer
    sums = []
    for key, inner in inside.items():
        outer = outer_of[key]
        usage = call_of(outer).usage
        # With the very same counts it is the same call under any name: a fallback was answered by another model.
        alike = [
            span
            for span in inner
            if same_model(models_of(outer), models_of(span)) or (usage and equal_counts(usage, call_of(span).usage))
        ]
        counted = [span for span in alike if call_of(span).usage is not None]
        if any(joined.of(span) is joined.of(outer) for span in inner):
            continue
        if usage is None or not counted:
            if len(alike) == 1 or (alike and not counted and usage is not None):
                joined.join(alike[0], outer, Bond.NESTED)
            elif usage is None and counted:
                joined.join(counted[-1], outer, Bond.NESTED)
        elif len(counted) == 1:
            own = usage.less(call_of(carried[key]).usage or Usage()) if key in carried else usage
            inner_usage = call_of(counted[0]).usage
            if can_agree(usage, inner_usage) or can_agree(own, inner_usage) or call_of(outer).estimated:
                joined.join(counted[0], outer, Bond.NESTED)
        else:
            same = [span for span in counted if equal_counts(usage, call_of(span).usage)]
            if same:
                joined.join(same[-1], outer, Bond.NESTED)
                for twin in _twins(same[-1], counted):
                    joined.join(same[-1], twin, Bond.SIDE_BY_SIDE)
            elif _covers(counted, usage):
                sums.append(outer)
    return sums


def _twins(span: SpanFacts, others: Sequence[SpanFacts]) -> list[SpanFacts]:
    """Of every other instrumentation, the closest record of the same call. Asked inside a call around them all,
    whose instrumentation may be one of theirs: afterwards two spans of one would keep the groups apart."""
    closest: dict[str, SpanFacts] = {}
    for other in sorted(others, key=lambda other: (distance(span, other), key_of(other))):
        if may_be_twins(span, other):
            closest.setdefault(seer_of(other), other)
    return list(closest.values())


def _outer_call(span: SpanFacts, trace: Trace) -> SpanFacts | None:
    """The nearest ancestor that is a call; none where an agent or a tool lies between: that makes calls of its own."""
    for ancestor in trace.ancestors(span):
        if ancestor is not None and (ancestor.is_tool or ancestor.call is not None):
            return ancestor if is_call(ancestor) else None
    return None


def _join_side_by_side(calls: Sequence[SpanFacts], traces: Mapping[bytes, Trace], joined: _Joined) -> None:
    """Calls of different instrumentations in one service, one within the time of the other, with equal counts above
    zero, of the same model and not of different tenants, are the same call. Each is paired with one at most of every
    other instrumentation, the closest first. No prompt has no tokens: where one is unknown, the output has to do
    (LangChain's streams of Anthropic's models under LangSmith). Where one tells of reasoning and the other does not,
    the counts may be equal but for that (LoongSuite's plug-in beside google-adk's own spans)."""
    by_counts: dict[tuple[str, int, int], list[SpanFacts]] = defaultdict(list)
    for span in calls:
        for prompt, output in readings_of(call_of(span).usage):
            by_counts[span.service, prompt, output].append(span)
    without_prompt = {(service, output) for service, prompt, output in by_counts if not prompt}
    for (service, prompt, output), spans in list(by_counts.items()) if without_prompt else ():
        if prompt and (service, output) in without_prompt:
            by_counts[service, 0, output] += spans
    pairs = {
        (distance(one, other), key_of(one), key_of(other)): (one, other)
        for spans in by_counts.values()
        if len({seer_of(span) for span in spans}) > 1
        for one, other in _overlapping(spans)
        if may_be_twins(one, other) and not _of_different_tenants(one, other, traces)
    }
    for _, (one, other) in sorted(pairs.items(), key=itemgetter(0)):
        first, second = joined.of(one), joined.of(other)
        if first is not second and not first.seers & second.seers and _can_be_one(first, second, traces):
            joined.join(one, other, Bond.SIDE_BY_SIDE)


def _can_be_one(first: Group, second: Group, traces: Mapping[bytes, Trace]) -> bool:
    """Neither two provider ids nor two tenants nor two prompts nor two outputs with reasoning, in all that the groups
    hold by now."""
    for facts_of in (_specific_ids, lambda group: _tenants(group, traces)):
        one, other = facts_of(first), facts_of(second)
        if one and other and one != other:
            return False
    for counts_of in (_prompts, _outputs_with_reasoning):
        counts, others = counts_of(first), counts_of(second)
        if counts and others and counts.isdisjoint(others):
            return False
    return True


def _prompts(group: Group) -> set[int]:
    usages = [call_of(span).usage for span in group.members.values()]
    return {usage.all_input for usage in usages if usage is not None} - {0}


def _outputs_with_reasoning(group: Group) -> set[int]:
    usages = [call_of(span).usage for span in group.members.values()]
    return {usage.all_output for usage in usages if usage is not None and usage.reasoning}


def _specific_ids(group: Group) -> set[str]:
    ids = {call_of(span).response_id for span in group.members.values()}
    return {response_id for response_id in ids if is_specific(response_id)}


def _tenants(group: Group, traces: Mapping[bytes, Trace]) -> set[str]:
    return {_nearest_tenant(span, traces.get(span.trace_id)) for span in group.members.values()} - {""}


def _overlapping(spans: Sequence[SpanFacts]) -> Iterator[tuple[SpanFacts, SpanFacts]]:
    """Pairs whose times, reaching back as far as they do, touch; of each span those with the latest to begin before it.
    Twins begin within a millisecond or so: without a bound, a burst of equal calls would cost its square."""
    ordered = sorted(spans, key=lambda span: (reach_ns(span), key_of(span)))
    open_: list[SpanFacts] = []
    for span in ordered:
        open_ = [earlier for earlier in open_ if reach_end_ns(earlier) >= reach_ns(span)]
        for earlier in open_[-MOST_NEIGHBOURS:]:
            yield earlier, span
        open_.append(span)


def _of_different_tenants(one: SpanFacts, other: SpanFacts, traces: Mapping[bytes, Trace]) -> bool:
    tenants = {_nearest_tenant(span, traces.get(span.trace_id)) for span in (one, other)} - {""}
    return len(tenants) > 1


def _nearest_tenant(span: SpanFacts, trace: Trace | None) -> str:
    if call_of(span).mixes_up:
        return ""
    above = trace.ancestors(span) if trace is not None and not span.tenant else ()
    return span.tenant or next((up.tenant for up in above if up is not None and up.tenant), span.baggage_tenant)


def _covers(inner: Sequence[SpanFacts], outer: Usage) -> bool:
    """Whether the inner calls together account for all that the outer reports."""
    usages = [usage for span in inner if (usage := call_of(span).usage) is not None]
    return (
        sum(usage.all_input for usage in usages) >= outer.all_input
        and sum(usage.all_output for usage in usages) >= outer.all_output
    )
