"""What became of events at the service, as far as it was read back."""

from dataclasses import dataclass

from spanmeter.store.database import Database
from spanmeter.usage.event import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplaintRow:
    """Events of one tenant that the service stored and will not bill as they are, for the reason in `message`."""

    subject: str
    code: str
    message: str
    events: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """An event that was taken and is not there: sent again `resent` times so far, `absent` when that is over. `sent` is
    empty while it waits to be sent again. Times are RFC 3339."""

    id: str
    subject: str
    tokens: int
    sent: str
    missed: str
    resent: int
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementState:
    """Counts are of events. `state` is idle (nothing was read back yet), reading or off, with the `notice` why. `sent`
    are taken and not read back yet, of which `missing` were sent again and `absent` were looked for in vain; `settled`
    were read back, whatever the service holds against them."""

    state: str
    notice: str
    sent: int
    settled: int
    missing: int
    absent: int
    complaints: list[ComplaintRow]


def read_settlement(database: Database) -> SettlementState:
    facts = dict(database.execute("fact_read"))
    sent, settled, missing, absent = database.execute("settlement_depths")[0]
    return SettlementState(
        state=facts.get("settlement_state", "idle"),
        notice=facts.get("settlement_notice", ""),
        sent=sent,
        settled=settled,
        missing=missing,
        absent=absent,
        complaints=[
            ComplaintRow(subject=subject, code=code, message=message, events=events, tokens=tokens)
            for subject, code, message, events, tokens in database.execute("complaint_read")
        ],
    )


def missing_rows(database: Database) -> list[MissingRow]:
    """Absent and missing events, in the order in which they were made."""
    return [
        MissingRow(
            id=event_id,
            subject=subject,
            tokens=tokens,
            sent=rfc3339(sent_ns) if sent_ns else "",
            missed=rfc3339(missed_ns),
            resent=resent,
            absent=bool(given_up),
        )
        for event_id, subject, tokens, sent_ns, missed_ns, resent, given_up in database.execute("absent_read")
    ]
