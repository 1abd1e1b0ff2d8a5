"""LLM calls whose tokens nobody knows, by model and instrumentation, with what mends it."""

from collections import defaultdict
from dataclasses import dataclass

from spanmeter.store.ledger import Held, SqliteLedger
from spanmeter.usage.event import event_model, rfc3339
from spanmeter.usage.outcome import Outcome, Reason

ADVICE = {
    Reason.STREAM_WITHOUT_USAGE: (
        "stream without usage: ask the provider for it. OpenAI's chat completions send usage on a stream only with "
        'stream_options={"include_usage": true}; an abandoned stream has none.'
    ),
    Reason.NO_USAGE: (
        "no usage: the instrumentation saw the call and no counts. If the call was a stream, ask the provider for "
        "usage; else another version, or another instrumentation of the same library, may report it."
    ),
    Reason.FAILED: "failed without usage: the call ended in an error; most providers bill nothing for that.",
    Reason.BAD_COUNTS: "unbelievable counts: negative, fractional or absurd; `spanmeter explain` names the key.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmeteredRow:
    """Calls of one reason, model, instrumentation and service; `first` and `last` are ends of spans, RFC 3339."""

    reason: str
    model: str
    scope: str
    service: str
    calls: int
    first: str
    last: str
    advice: str


def unmetered_rows(ledger: SqliteLedger) -> list[UnmeteredRow]:
    """Most calls first."""
    groups: dict[tuple[Reason, str, str, str], list[Held]] = defaultdict(list)
    for held in ledger.held((Outcome.UNMETERED, Outcome.INVALID)):
        decision = held.decision
        service = decision.span.service.partition("/")[0]
        groups[decision.reason, event_model(decision.call), decision.span.scope, service].append(held)
    rows = []
    for (reason, model, scope, service), all_held in groups.items():
        ends = [held.decision.span.end_ns for held in all_held]
        rows.append(
            UnmeteredRow(
                reason=reason.value,
                model=model,
                scope=scope,
                service=service,
                calls=len(all_held),
                first=rfc3339(min(ends)),
                last=rfc3339(max(ends)),
                advice=ADVICE.get(reason, ""),
            )
        )
    return sorted(rows, key=lambda row: (-row.calls, row.model, row.scope))
