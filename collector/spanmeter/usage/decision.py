"""The decision on traces: for each LLM span one outcome, and who is billed for what."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from spanmeter.usage.attribution import Attribution, Where, attribute
from spanmeter.usage.call import Key, LlmCall, Role, SpanFacts, Usage, call_of, key_of
from spanmeter.usage.grouping import Bond, Group, group_calls
from spanmeter.usage.identity import is_specific, response_identity, span_identity
from spanmeter.usage.likeness import leaves_out_reasoning
from spanmeter.usage.loops import carried_over
from spanmeter.usage.models import same_model
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.trace import Trace, is_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one span. `identity` names the call it records: equal identities are the same call. `also` are
    other names of the call, each with a scope that bears it: a proxy's response id outside, the provider's inside.

    For the span that is billed, `span` has what other records of the same call knew better: the parts of equal
    counts, the model, the provider. `same_as` is the span that stands for the call, where that is another one.
    `billed_before` is what of the span's counts was billed by an earlier decision, for another span.
    """

    span: SpanFacts
    outcome: Outcome
    reason: Reason
    attribution: Attribution = Attribution()
    identity: str = ""
    same_as: bytes = b""
    billed_before: Usage = Usage()
    also: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the call, the one that it is billed under first."""
        return self.identity, *(name for name, _ in self.also)

    @property
    def call(self) -> LlmCall:
        return call_of(self.span)

    @property
    def usage(self) -> Usage:
        """What this decision is about, in tokens."""
        return (self.call.usage or Usage()).less(self.billed_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRules:
    """`default_subject`: tenant of last resort, empty for none. `bill_estimates`: bill counts that an instrumentation
    guessed, marked as such; otherwise they wait for a person."""

    default_subject: str = ""
    bill_estimates: bool = False


_NO_TRACES: Mapping[bytes, Trace] = MappingProxyType({})
_NO_IDENTITIES: Mapping[Key, str] = MappingProxyType({})

# Looked up once: in Python 3.11 an enum's member costs a call of a function.
_BILLED_OWN = Outcome.BILLED, Reason.OWN_CALL

_DUPLICATE = {
    Bond.SAME_RESPONSE: Reason.SAME_RESPONSE,
    Bond.NESTED: Reason.NESTED,
    Bond.SIDE_BY_SIDE: Reason.SIDE_BY_SIDE,
}


def decide(
    traces: Mapping[bytes, Trace],
    *,
    billed: Mapping[Key, str],
    rules: DecisionRules,
    found: Mapping[Key, str] = _NO_IDENTITIES,
    older: Iterable[SpanFacts] = (),
    older_traces: Mapping[bytes, Trace] = _NO_TRACES,
    older_identities: Mapping[Key, str] = _NO_IDENTITIES,
) -> list[Decision]:
    """Decide every LLM span of `traces`; of `older` calls, decided before in `older_traces`, those that share a call.

    Depends on nothing but its arguments, and not on the order in which the spans arrived. `billed` has the identities
    of spans billed by earlier decisions: they stand for their call; and of further records of a call for which a span
    out of sight was billed: they stand for that one. `found` has what such calls were named, billed or not.
    `older_identities` name the calls of `older` ones.
    """
    grouping = group_calls(traces, older=older, older_traces=older_traces, older_identities=older_identities)
    around = {**older_traces, **traces}
    records = {key: span for group in grouping.groups for key, span in group.members.items()}
    held = carried_over(records.values())
    stands: dict[Key, SpanFacts] = {}
    decisions = [
        _decide_alone(span, traces[span.trace_id], billed=billed, found=found, rules=rules) for span in grouping.alone
    ]
    for group in grouping.groups:
        if any(key[0] in traces for key in group.members):
            made = _decide_group(group, around, billed=billed, found=found, rules=rules)
            decisions += [one for one in made if not _is_known(one, older_identities)]
            stands.update(dict.fromkeys(group.members, records[key_of(made[-1].span)]))
    if held:
        within = {
            key_of(before): later
            for later, before in held.items()
            if later in billed or _covers(stands.get(later, records[later]), records[later])
        }
        elsewhere = {key for key, span in stands.items() if key_of(span) != key and key_of(span) not in within}
        decisions = _once_a_loop(decisions, held, within, elsewhere=elsewhere, billed=billed)
    decisions += [_decide_summed_call(span, billed) for span in grouping.sums]
    for trace in traces.values():
        decisions += _decide_others(trace, billed=billed, rules=rules)
    return sorted(decisions, key=lambda one: (one.span.start_ns, one.span.trace_id, one.span.span_id))


def _once_a_loop(
    decisions: list[Decision],
    held: Mapping[Key, SpanFacts],
    within: Mapping[Key, Key],
    *,
    elsewhere: Collection[Key],
    billed: Mapping[Key, str],
) -> list[Decision]:
    """The last call of a loop stands for all of it, but for what was billed before it came, or is by another span.

    `within` has the later call in which a call is billed: not where another record, with the counts of that one alone,
    stands for it. `elsewhere` are those for which another span stands that is not within a later one itself.
    """
    settled = []
    for decision in decisions:
        key = key_of(decision.span)
        if key in billed or decision.outcome is Outcome.DUPLICATE:
            settled.append(decision)
        elif key in within:
            part = Decision(
                span=decision.span, outcome=Outcome.DUPLICATE, reason=Reason.CARRIED_OVER, same_as=within[key][1]
            )
            settled.append(part)
        else:
            before = held.get(key)
            while before is not None and key_of(before) not in billed and key_of(before) not in elsewhere:
                before = held.get(key_of(before))
            usage = call_of(before).usage if before is not None else None
            settled.append(replace(decision, billed_before=usage or Usage()))
    return settled


def _is_known(decision: Decision, older_identities: Mapping[Key, str]) -> bool:
    """Whether an older span was a duplicate of the same call before."""
    is_duplicate = decision.outcome is Outcome.DUPLICATE
    return is_duplicate and older_identities.get(key_of(decision.span)) == decision.identity


def _covers(whole: SpanFacts, part: SpanFacts) -> bool:
    """Whether one reports no fewer tokens than the other."""
    usage, other = call_of(whole).usage or Usage(), call_of(part).usage or Usage()
    return usage.all_input >= other.all_input and usage.all_output >= other.all_output


def _decide_summed_call(span: SpanFacts, billed: Mapping[Key, str]) -> Decision:
    """A call that turned out to be a sum; if it was billed before its parts came, it stays billed."""
    if key_of(span) in billed:
        return Decision(span=span, outcome=Outcome.BILLED, reason=Reason.OWN_CALL, identity=billed[key_of(span)])
    return Decision(span=span, outcome=Outcome.AGGREGATE, reason=Reason.SUM)


def _decide_group(
    group: Group,
    traces: Mapping[bytes, Trace],
    *,
    billed: Mapping[Key, str],
    found: Mapping[Key, str],
    rules: DecisionRules,
) -> list[Decision]:
    usages = [call_of(span).usage for span in group.members.values()]
    standing = max(group.members.values(), key=lambda span: _standing(span, usages, traces, billed))
    is_counted = call_of(standing).usage is not None
    identity = billed.get(key_of(standing)) or (_identity(standing, group, found) if is_counted else "")
    decisions = [
        Decision(
            span=span,
            outcome=Outcome.DUPLICATE,
            reason=_DUPLICATE[group.bonds.get(key, group.bonds.get(key_of(standing), Bond.SAME_RESPONSE))],
            identity=identity,
            same_as=standing.span_id,
        )
        for key, span in group.members.items()
        if span is not standing
    ]
    if not is_counted:
        return [*decisions, _unmetered(standing)]
    attribution = _attribution(standing, group, traces, rules)
    outcome, reason = _outcome(standing, attribution, traces.get(standing.trace_id), billed=billed, rules=rules)
    merged = _merged(standing, group)
    further = _names(group, found) if len(group.members) > 1 else ()
    also = tuple(sorted({one for one in further if one[0] != identity}))
    return [
        *decisions,
        Decision(span=merged, outcome=outcome, reason=reason, attribution=attribution, identity=identity, also=also),
    ]


def _decide_alone(
    span: SpanFacts, trace: Trace, *, billed: Mapping[Key, str], found: Mapping[Key, str], rules: DecisionRules
) -> Decision:
    """What `_decide_group` comes to where nobody else records the call."""
    call = call_of(span)
    if call.usage is None:
        return _unmetered(span)
    identity = billed.get(key_of(span)) if billed else None
    if identity is None and is_specific(call.response_id):
        identity = response_identity(call.response_id)
    elif identity is None:
        identity = found.get(key_of(span)) or span_identity(span)
    attribution = attribute(span, trace, default_subject=rules.default_subject)
    outcome, reason = _outcome(span, attribution, trace, billed=billed, rules=rules)
    return Decision(span=span, outcome=outcome, reason=reason, attribution=attribution, identity=identity)


def _unmetered(span: SpanFacts) -> Decision:
    call = call_of(span)
    reason = Reason.STREAM_WITHOUT_USAGE if call.streamed else Reason.NO_USAGE
    return Decision(span=span, outcome=Outcome.UNMETERED, reason=Reason.FAILED if call.is_error else reason)


def _outcome(
    standing: SpanFacts,
    attribution: Attribution,
    trace: Trace | None,
    *,
    billed: Mapping[Key, str],
    rules: DecisionRules,
) -> tuple[Outcome, Reason]:
    """Of a call with counts, by the span that stands for it."""
    if billed:
        if key_of(standing) in billed:
            return _BILLED_OWN
        if _is_part_of_billed(standing, trace, billed):
            return Outcome.DUPLICATE, Reason.PART
    if call_of(standing).estimated and not rules.bill_estimates:
        return Outcome.ESTIMATED, Reason.ESTIMATE
    if attribution.tenant:
        return _BILLED_OWN
    return Outcome.PARKED, Reason.TENANT_CONFLICT if attribution.candidates else Reason.NO_TENANT


def _is_part_of_billed(span: SpanFacts, trace: Trace | None, billed: Mapping[Key, str]) -> bool:
    """Whether a span above was billed before this one came, and can hold it: an aggregate, or a call of the same model
    with no fewer tokens that turns out to be around it. What was billed cannot be undone: the part is not billed."""
    usage = call_of(span).usage
    if trace is None or usage is None:
        return False
    for above in trace.ancestors(span):
        if above is not None and above.is_tool:
            return False  # what a tool does is no part of the call or the agent that ran it
        if above is None or above.call is None or key_of(above) not in billed or above.call.usage is None:
            continue
        whole = above.call.usage
        if above.call.role is Role.AGGREGATE:
            return True
        models = [(call.request_model, call.response_model) for call in (above.call, call_of(span))]
        if same_model(*models) and usage.all_input <= whole.all_input and usage.all_output <= whole.all_output:
            return True
    return False


def _standing(
    span: SpanFacts, usages: Sequence[Usage | None], traces: Mapping[bytes, Trace], billed: Mapping[Key, str]
) -> tuple[bool, bool, bool, bool, bool, bool, int, bool, int, bytes, bytes]:
    """The greatest stands for its call: billed already, else with counts, measured rather than guessed, of the prompt
    too, in its own place, with the reasoning that is in the group's `usages`, furthest inside, with the provider's id,
    with most parts told apart. Ids decide between equals."""
    call = call_of(span)
    trace = traces.get(span.trace_id)
    depth = sum(1 for _ in trace.ancestors(span)) if trace is not None else 0
    parts = _parts(call)
    return (
        key_of(span) in billed,
        call.usage is not None,
        not call.estimated,
        call.usage is not None and call.usage.all_input > 0,
        not call.mixes_up,
        not any(other is not None and leaves_out_reasoning(call.usage, other) for other in usages),
        depth if _has_call_above(span, trace) else 0,
        is_specific(call.response_id),
        parts,
        span.trace_id,
        span.span_id,
    )


def _has_call_above(span: SpanFacts, trace: Trace | None) -> bool:
    return trace is not None and any(up is not None and up.call is not None for up in trace.ancestors(span))


def _parts(call: LlmCall) -> int:
    usage = call.usage
    return sum(map(bool, (usage.cache_read, usage.cache_write, usage.reasoning))) if usage is not None else 0


def _identity(standing: SpanFacts, group: Group, found: Mapping[Key, str]) -> str:
    """The response id, the standing span's own before the others', else what the call was named before, else the
    standing span's ids."""
    ids = [call_of(standing).response_id, *sorted(call_of(span).response_id for span in group.members.values())]
    named = min((found[key] for key in group.members if key in found), default="") if found else ""
    return next((response_identity(one) for one in ids if is_specific(one)), named or span_identity(standing))


def _names(group: Group, found: Mapping[Key, str]) -> Iterator[tuple[str, str]]:
    """Response ids, and what the call was named before, each with the scope of who bears it."""
    for key, span in group.members.items():
        if is_specific(call_of(span).response_id):
            yield response_identity(call_of(span).response_id), span.scope
        if key in found:
            yield found[key], span.scope


def _attribution(standing: SpanFacts, group: Group, traces: Mapping[bytes, Trace], rules: DecisionRules) -> Attribution:
    """The standing span's tenant; else the one that other records of the call agree on. Records that each name another
    tenant, on themselves or above them, are a conflict."""
    found = {
        key: attribute(span, traces.get(span.trace_id, Trace()), default_subject=rules.default_subject)
        for key, span in group.members.items()
        if span is standing or not call_of(span).mixes_up
    }
    sure = {one.tenant for one in found.values() if one.where in (Where.CREDENTIAL, Where.SPAN, Where.ANCESTOR)}
    own = found[key_of(standing)]
    if own.where is Where.CREDENTIAL:
        return own
    if len(sure) > 1:
        return Attribution(candidates=tuple(sorted(sure)))
    order = list(Where)
    best = min(found.values(), key=lambda one: (order.index(one.where) if one.where else len(order), one is not own))
    return best if best.where is not own.where else own


def _merged(standing: SpanFacts, group: Group) -> SpanFacts:
    """The standing span with what the others know better of the same counts."""
    if len(group.members) == 1:
        return standing
    call = call_of(standing)
    assert call.usage is not None
    others = [call_of(span) for _, span in sorted(group.members.items()) if span is not standing]
    totals = (call.usage.all_input, call.usage.all_output)
    richest = max((one for one in others if one.usage is not None), key=_parts, default=call)
    usage = call.usage
    if richest.usage is not None and _parts(richest) > _parts(call):
        usage = richest.usage if (richest.usage.all_input, richest.usage.all_output) == totals else usage
    known = [call, *others]
    dimensions = dict(standing.dimensions)
    for _, span in sorted(group.members.items()):
        for name, shown in span.dimensions:
            dimensions.setdefault(name, shown)
    return replace(
        standing,
        dimensions=tuple(dimensions.items()),
        call=replace(
            call,
            usage=usage,
            provider=next((one.provider for one in known if one.provider), ""),
            operation=next((one.operation for one in known if one.operation), ""),
            request_model=next((one.request_model for one in known if one.request_model), ""),
            response_model=next((one.response_model for one in known if one.response_model), ""),
        ),
    )


def _decide_others(trace: Trace, *, billed: Mapping[Key, str], rules: DecisionRules) -> list[Decision]:
    """Spans that are no calls: invalid, ignored, and sums over calls, the innermost sums first."""
    if len(trace.calls_of_models()) == len(trace.facts):
        return []
    decisions = []
    accounted = {span.span_id for span in trace.calls() if _bears_usage(span)}
    sums = []
    for span in trace.calls():
        call = call_of(span)
        if call.problem:
            decisions.append(Decision(span=span, outcome=Outcome.INVALID, reason=Reason.BAD_COUNTS))
        elif call.role is Role.IGNORED:
            decisions.append(Decision(span=span, outcome=Outcome.IGNORED, reason=Reason.NO_CALL))
        elif call.role is Role.AGGREGATE:
            sums.append(span)
    for span in sorted(sums, key=lambda span: (-sum(1 for _ in trace.ancestors(span)), span.span_id)):
        decision = _decide_sum(span, trace, accounted, billed=billed, rules=rules)
        if decision.outcome is Outcome.BILLED:
            accounted.add(span.span_id)
        decisions.append(decision)
    return decisions


def _decide_sum(
    span: SpanFacts, trace: Trace, accounted: set[bytes], *, billed: Mapping[Key, str], rules: DecisionRules
) -> Decision:
    others = [trace.facts[span_id] for span_id in accounted if span_id != span.span_id]
    if key_of(span) not in billed and any(_is_part(one, span, trace) or _hands_on(span, one) for one in others):
        return Decision(span=span, outcome=Outcome.AGGREGATE, reason=Reason.SUM)
    call = call_of(span)
    attribution = attribute(span, trace, default_subject=rules.default_subject)
    identity = billed.get(key_of(span)) or _identity(span, Group({key_of(span): span}), _NO_IDENTITIES)
    if key_of(span) in billed or (call.sole_source and attribution.tenant):
        outcome, reason = Outcome.BILLED, Reason.SOLE_SOURCE
    elif call.sole_source:
        outcome, reason = Outcome.PARKED, Reason.TENANT_CONFLICT if attribution.candidates else Reason.NO_TENANT
    else:
        outcome, reason = Outcome.PARKED, Reason.SOLE_AGGREGATE
    return Decision(span=span, outcome=outcome, reason=reason, attribution=attribution, identity=identity)


def _is_part(part: SpanFacts, whole: SpanFacts, trace: Trace) -> bool:
    """Below it, and not the work of a tool that it ran; or, where the part's chain of parents is broken, within its
    time."""
    for up in trace.ancestors(part):
        if up is not None and (up.is_tool or up.span_id == whole.span_id):
            return not up.is_tool
    return not trace.is_whole(part) and whole.start_ns <= part.start_ns and part.end_ns <= whole.end_ns


def _hands_on(step: SpanFacts, made: SpanFacts) -> bool:
    """Whether a step of a chain only repeats what a call before it in the trace reported: LangSmith puts the usage of
    a message on every run that has it for an output."""
    usage, other = call_of(step).usage, call_of(made).usage
    return (
        not call_of(step).sole_source
        and made.start_ns <= step.start_ns
        and usage is not None
        and other is not None
        and (usage.all_input, usage.all_output) == (other.all_input, other.all_output)
    )


def _bears_usage(span: SpanFacts) -> bool:
    call = call_of(span)
    return is_call(span) and call.usage is not None
