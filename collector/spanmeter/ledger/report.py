"""Usage by tenant, model, token class and period."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from spanmeter.errors import UsageError
from spanmeter.store.database import Database

END_OF_TIME_NS = 2**63 - 1
_DAY_NS = 86_400_000_000_000
_LAST_DAY = END_OF_TIME_NS // _DAY_NS


class Period(StrEnum):
    """How long a row's period is; periods are UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    ALL = "all"


_FORMATS = {Period.HOUR: "%Y-%m-%dT%H:00Z", Period.DAY: "%Y-%m-%d", Period.MONTH: "%Y-%m", Period.ALL: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """Events and tokens of one tenant, model, token class and period (empty for all time)."""

    tenant: str
    period: str
    model: str
    token_class: str
    events: int
    tokens: int


def usage_rows(
    database: Database, *, period: Period = Period.ALL, since: str = "", until: str = "", tenant: str = ""
) -> list[UsageRow]:
    """What was metered, by tenant, period, model and token class, from `since` (inclusive) to `until` (exclusive):
    ISO 8601 dates or times, UTC where they name no zone. Time is the end of the call."""
    from_ns, to_ns = parse_time_ns(since) if since else 0, parse_time_ns(until) if until else END_OF_TIME_NS
    from_day, to_day = _whole_days(from_ns, to_ns) if period is not Period.HOUR else (_LAST_DAY, _LAST_DAY)
    rows: Iterable[tuple[str, str, str, str, int, int]] = database.execute(
        "usage_by",
        format=_FORMATS[period],
        from_ns=from_ns,
        to_ns=to_ns,
        from_day=from_day,
        to_day=to_day,
        subject=tenant,
    )
    return [
        UsageRow(tenant=subject, model=model, token_class=token_class, period=when, events=events, tokens=tokens)
        for subject, model, token_class, when, events, tokens in rows
    ]


def _whole_days(from_ns: int, to_ns: int) -> tuple[int, int]:
    """The days since 1970 that lie whole in the time, from the first to before the last; equal where there are none."""
    first = -(-from_ns // _DAY_NS)
    return first, max(first, _LAST_DAY if to_ns == END_OF_TIME_NS else to_ns // _DAY_NS)


def parse_time_ns(text: str) -> int:
    """Unix time in ns of an ISO 8601 date or time, UTC where it names no zone. Raises UsageError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date or time", hint="write 2026-11-23 or 2026-11-23T14:00:00Z") from None
    since_1970 = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return max(0, min(since_1970 // timedelta(microseconds=1) * 1000, END_OF_TIME_NS))
