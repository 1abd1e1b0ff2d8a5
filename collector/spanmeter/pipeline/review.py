"""Parked calls, and what a person decides on them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from spanmeter.clock import Clock
from spanmeter.errors import StoreBusyError, UsageError
from spanmeter.pipeline.accounting import Rules, settle_review
from spanmeter.store.ledger import Held, SqliteLedger
from spanmeter.usage.attribution import Attribution, Where
from spanmeter.usage.decision import Decision
from spanmeter.usage.event import event_model, event_provider
from spanmeter.usage.outcome import Outcome, Reason

REVIEWED = (Outcome.PARKED, Outcome.ESTIMATED)
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which held calls are meant: one span, a trace, and those whose `where` properties have these values; together
    they narrow. An empty selection means all, and has to be asked for by `everything`."""

    trace_id: str = ""
    span_id: str = ""
    where: tuple[tuple[str, str], ...] = ()
    everything: bool = False

    def __post_init__(self) -> None:
        if not (self.trace_id or self.span_id or self.where or self.everything):
            raise UsageError("which calls?", hint="name --trace, --span or --where NAME=VALUE, or say --all")

    def includes(self, decision: Decision) -> bool:
        span = decision.span
        known = properties(decision)
        return (
            span.trace_id.hex().startswith(self.trace_id.lower())
            and span.span_id.hex().startswith(self.span_id.lower())
            and all(known.get(name) == value for name, value in self.where)
        )


def properties(decision: Decision) -> dict[str, str]:
    """What calls can be selected by: model, provider, operation, scope, service, reason, dimensions and hint ids."""
    call, span = decision.call, decision.span
    return {
        "model": event_model(call),
        "provider": event_provider(call),
        "operation": call.operation,
        "scope": span.scope,
        "service": span.service.partition("/")[0],
        "reason": decision.reason.value,
        **dict(span.hints),
        **dict(span.dimensions),
    }


class Review:
    """Assigns and discards. Safe beside a running collector: who comes second decides anew."""

    def __init__(self, ledger: SqliteLedger, *, rules: Rules, clock: Clock, deliver: bool) -> None:
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._deliver = deliver

    def select(self, selection: Selection) -> list[Held]:
        """The parked and estimated calls that are meant, those held longest first."""
        return [held for held in self._ledger.held(REVIEWED) if selection.includes(held.decision)]

    def assign(self, selection: Selection, tenant: str) -> list[Decision]:
        """Bill the calls to `tenant`, with the time at which they were made. Returns what became of each: billed, or a
        duplicate of a call that had been billed meanwhile. Their events are in the outbox on return."""
        if not tenant.strip():
            raise UsageError("the tenant is empty")
        found = Attribution(tenant=tenant.strip(), where=Where.ASSIGNED)
        return self._settle(
            selection,
            lambda decision: replace(decision, outcome=Outcome.BILLED, reason=Reason.OWN_CALL, attribution=found),
        )

    def accept(self, selection: Selection) -> list[Decision]:
        """Bill estimated calls, marked as such, to the tenants that they name; those without one stay."""
        return self._settle(
            selection,
            lambda decision: replace(decision, outcome=Outcome.BILLED) if decision.attribution.tenant else decision,
        )

    def discard(self, selection: Selection) -> list[Decision]:
        """Decide that nobody is billed; the spans stay counted as discarded by a person."""
        return self._settle(
            selection, lambda decision: replace(decision, outcome=Outcome.IGNORED, reason=Reason.DISCARDED)
        )

    def _settle(self, selection: Selection, decide: Callable[[Decision], Decision]) -> list[Decision]:
        for _ in range(TRIES):
            changes = [(held.decision, decide(held.decision)) for held in self.select(selection)]
            if not changes:
                return []
            settlement = settle_review(changes, self._ledger, rules=self._rules)
            try:
                self._ledger.settle(settlement, now_ns=self._clock.now_ns(), deliver=self._deliver)
            except StoreBusyError:
                continue
            return settlement.decisions
        raise StoreBusyError("the collector keeps deciding on the same traces", hint="try again in a minute")
