"""A decision in words and plain values, for a person to check an invoice line back to its span."""

from dataclasses import dataclass

from spanmeter.usage.decision import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Ids are hex. `tokens` are counts by disjoint class, or why there are none. `tenant_from` says where it was found
    and under which key; `candidates` are the tenants among which nobody could choose."""

    trace_id: str
    span_id: str
    parent_span_id: str
    start_ns: int
    seconds: float
    scope: str
    dialect: str
    role: str
    operation: str
    provider: str
    model: str
    response_id: str
    tokens: str
    tenant: str
    tenant_from: str
    candidates: tuple[str, ...]
    outcome: str
    reason: str
    identity: str


def explanation(decision: Decision) -> Explanation:
    span, call, found = decision.span, decision.call, decision.attribution
    if call.problem:
        tokens = call.problem
    elif call.usage is None:
        tokens = "none on the span"
    else:
        usage = call.usage
        tokens = (
            f"input {usage.input}, cache_read {usage.cache_read}, cache_write {usage.cache_write}, "
            f"output {usage.output}, reasoning {usage.reasoning}"
        )
        if decision.billed_before.total:
            before = decision.billed_before
            tokens += f"; of these input {before.all_input} and output {before.all_output} were billed before"
    where = f"{found.where.value}{f', {found.key}' if found.key else ''}" if found.where is not None else ""
    return Explanation(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        start_ns=span.start_ns,
        seconds=max(0, span.end_ns - span.start_ns) / 1e9,
        scope=span.scope,
        dialect=call.dialect,
        role=call.role.value,
        operation=call.operation,
        provider=call.provider,
        model=call.response_model or call.request_model,
        response_id=call.response_id,
        tokens=tokens,
        tenant=found.tenant,
        tenant_from=where,
        candidates=found.candidates,
        outcome=decision.outcome.value,
        reason=decision.reason.value,
        identity=decision.identity,
    )
