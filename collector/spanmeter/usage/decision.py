"""The decision on a trace: for each of its LLM spans one outcome, and who is billed for what."""

from collections.abc import Mapping
from dataclasses import dataclass

from spanmeter.usage.attribution import Attribution, attribute
from spanmeter.usage.call import LlmCall, Role, SpanFacts
from spanmeter.usage.identity import call_identity
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one span. `identity` names the call it records: equal identities are the same call."""

    span: SpanFacts
    outcome: Outcome
    reason: Reason
    attribution: Attribution = Attribution()
    identity: str = ""

    @property
    def call(self) -> LlmCall:
        assert self.span.call is not None
        return self.span.call


def decide(trace: Trace, *, billed: Mapping[bytes, str], default_subject: str = "") -> list[Decision]:
    """Decide every LLM span of `trace`, oldest first.

    Depends on nothing but its arguments, and not on the order in which the spans arrived. `billed` has the identities
    of spans that were billed by an earlier decision on the same trace: they stay billed, and what is the same call
    as one of them is a duplicate.
    """
    calls = list(trace.calls())
    has_parts = any(_bears_usage(span) for span in calls)
    seen: dict[str, SpanFacts] = {billed[span.span_id]: span for span in calls if span.span_id in billed}
    decisions = []
    for span in calls:
        assert span.call is not None
        outcome, reason = _by_itself(span.call, has_parts=has_parts)
        attribution, identity = Attribution(), ""
        if outcome is Outcome.BILLED:
            identity = call_identity(span)
            attribution = attribute(span, trace, default_subject=default_subject)
            if seen.setdefault(identity, span) is not span:
                outcome, reason = Outcome.DUPLICATE, Reason.SAME_RESPONSE
            elif not attribution.tenant:
                outcome = Outcome.PARKED
                reason = Reason.TENANT_CONFLICT if attribution.candidates else Reason.NO_TENANT
        decisions.append(
            Decision(span=span, outcome=outcome, reason=reason, attribution=attribution, identity=identity)
        )
    return decisions


def _by_itself(call: LlmCall, *, has_parts: bool) -> tuple[Outcome, Reason]:
    """What a span would be if it were alone with its trace's other calls."""
    if call.problem:
        return Outcome.INVALID, Reason.BAD_COUNTS
    if call.role is Role.IGNORED:
        return Outcome.IGNORED, Reason.NO_CALL
    if call.role is Role.AGGREGATE:
        return (Outcome.AGGREGATE, Reason.SUM) if has_parts else (Outcome.PARKED, Reason.SOLE_AGGREGATE)
    if call.usage is None:
        if call.is_error:
            return Outcome.UNMETERED, Reason.FAILED
        return Outcome.UNMETERED, Reason.STREAM_WITHOUT_USAGE if call.streamed else Reason.NO_USAGE
    return Outcome.BILLED, Reason.OWN_CALL


def _bears_usage(span: SpanFacts) -> bool:
    return span.call is not None and span.call.role is Role.CALL and span.call.usage is not None
