"""What the service answers to GET: events, with what it has against them, and meters; v3 and v1.

Sources: Konnect's OpenAPI (`list-metering-events`, `list-meters`) and OpenMeter's code behind it: one operator a field,
at most 50 items and 1024 characters in a filter, pages of 1 to 100, cursors of a time and a row; v1 has no cursor.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import eq, ge, gt, le, lt
from typing import Any

Query = Mapping[str, Sequence[str]]

LLM_TOKENS: Mapping[str, Any] = {
    "id": "01G65Z755AFWAKHE12NY0CQ9FH",
    "name": "LLM Tokens",
    "key": "llm_tokens_total",
    "event_type": "kong.llm_request",
    "aggregation": "sum",
    "value_property": "$.tokens",
    "dimensions": {"type": "$.type", "model": "$.model", "provider": "$.provider"},
}
_TEXTS = ("id", "source", "subject", "type")
_TIMES = ("time", "ingested_at", "stored_at")
_FILTER = re.compile(r"filter\[(\w+)\]\[(\w+)\]")
_COMPARISONS: Mapping[str, Callable[[datetime, datetime], bool]] = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "eq": eq}


class BadQuery(ValueError):
    """What the service answers with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was taken, when, and its place in line."""

    row: int
    event: Mapping[str, Any]
    ingested_ns: int

    def text(self, name: str) -> str:
        return str(self.event.get(name, ""))

    def at(self, name: str) -> datetime:
        # A second's resolution for the event's own time, as the service stores it.
        if name == "time" and self.event.get("time"):
            return _time(str(self.event["time"])).replace(microsecond=0)
        return datetime.fromtimestamp(self.ingested_ns // 1_000 / 1e6, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom and what the service knows. Subjects of `customers`; None: everybody is one."""

    customers: frozenset[str] | None = None
    meters: Sequence[Mapping[str, Any]] = (LLM_TOKENS,)

    def complaints(self, stored: StoredEvent) -> list[str]:
        found = []
        if all(meter["event_type"] != stored.text("type") for meter in self.meters):
            found.append(f"no meter found for event type: {stored.text('type')}")
        if self.customers is not None and stored.text("subject") not in self.customers:
            found.append(f"no customer found for event subject: {stored.text('subject')}")
        return found


def answer(
    path: str, query: Query, stored: Sequence[StoredEvent], account: Account, *, now: datetime
) -> tuple[int, Any]:
    """Status and document; for a status that is not 200 the document is what is wrong."""
    try:
        match path:
            case "/v3/openmeter/events" | "/api/v3/openmeter/events":
                return 200, list_v3(stored, query, account)
            case "/api/v1/events":
                return 200, list_v1(stored, query, account, now=now)
            case "/v3/openmeter/meters" | "/api/v3/openmeter/meters":
                return 200, meters_v3(account)
            case "/api/v1/meters":
                return 200, meters_v1(account)
    except ValueError as error:
        return 400, str(error)
    return 404, "the requested route does not exist"


def list_v3(all_stored: Sequence[StoredEvent], query: Query, account: Account) -> dict[str, Any]:
    """A page of `GET …/openmeter/events`. Raises BadQuery."""
    field, _, direction = (_one(query, "sort") or "time desc").partition(" ")
    if field not in _TIMES or direction not in ("", "asc", "desc"):
        raise BadQuery(f"sort: {field} {direction}")
    if "page[before]" in query:
        raise BadQuery("page[before] is not supported")
    size = int(_one(query, "page[size]") or "20")
    if not 1 <= size <= 100:
        raise BadQuery("page[size]: must be between 1 and 100")
    chosen = [stored for stored in all_stored if all(_passes(stored, *f) for f in _filters(query))]
    is_down = direction != "asc"
    chosen.sort(key=lambda stored: (stored.at(field), stored.row), reverse=is_down)
    if after := _one(query, "page[after]"):
        when, _, row = base64.b64decode(after, validate=True).decode().partition(",")
        place = (_time(when), int(row))
        chosen = [x for x in chosen if ((x.at(field), x.row) < place) is is_down and (x.at(field), x.row) != place]
    page = chosen[:size]
    following = _cursor(page[-1], field) if len(chosen) > size else None
    return {
        "data": [
            {
                "event": stored.event,
                "ingested_at": _text(stored.at("ingested_at")),
                "stored_at": _text(stored.at("stored_at")),
                "validation_errors": [
                    {"code": "validation_error", "message": message} for message in account.complaints(stored)
                ],
            }
            for stored in page
        ],
        "meta": {"page": {"size": size, "next": following, "previous": None}},
    }


def list_v1(
    all_stored: Sequence[StoredEvent], query: Query, account: Account, *, now: datetime
) -> list[dict[str, Any]]:
    """`GET /api/v1/events`. Raises BadQuery."""
    limit = int(_one(query, "limit") or "100")
    if not 1 <= limit <= 100:
        raise BadQuery("limit must be between 1 and 100")
    earliest = now - timedelta(days=32)
    begin = _time(_one(query, "from")) if "from" in query else earliest
    if begin < earliest:
        raise BadQuery("from date is too old: 32 days at most")
    chosen = [
        stored
        for stored in all_stored
        if stored.at("time") >= begin
        and ("to" not in query or stored.at("time") <= _time(_one(query, "to")))
        and ("ingestedAtFrom" not in query or stored.at("ingested_at") >= _time(_one(query, "ingestedAtFrom")))
        and ("ingestedAtTo" not in query or stored.at("ingested_at") <= _time(_one(query, "ingestedAtTo")))
        and _one(query, "id") in stored.text("id")
        and _one(query, "subject") in stored.text("subject")
    ]
    chosen.sort(key=lambda stored: (stored.at("time"), stored.row), reverse=True)
    return [
        {
            "event": stored.event,
            "ingestedAt": _text(stored.at("ingested_at")),
            "storedAt": _text(stored.at("stored_at")),
            **({"validationError": "\n".join(wrong)} if (wrong := account.complaints(stored)) else {}),
        }
        for stored in chosen[:limit]
    ]


def meters_v3(account: Account) -> dict[str, Any]:
    return {
        "data": list(account.meters),
        "meta": {"page": {"number": 1, "size": 20, "total": len(account.meters)}},
    }


def meters_v1(account: Account) -> list[dict[str, Any]]:
    return [
        {
            "id": meter["id"],
            "slug": meter["key"],
            "eventType": meter["event_type"],
            "aggregation": str(meter["aggregation"]).upper(),
            "valueProperty": meter.get("value_property"),
            "groupBy": meter.get("dimensions", {}),
        }
        for meter in account.meters
    ]


def _filters(query: Query) -> list[tuple[str, str, str]]:
    found: dict[str, tuple[str, str, str]] = {}
    for name in query:
        if name in ("sort", "page[size]", "page[after]"):
            continue
        match = _FILTER.fullmatch(name)
        if match is None or match[1] not in (*_TEXTS, *_TIMES):
            raise BadQuery(f"unknown query parameter: {name}")
        field, operator, value = match[1], match[2], _one(query, name)
        if field in found:
            raise BadQuery(f"filter[{field}]: one operator only")
        known = _COMPARISONS if field in _TIMES else ("eq", "oeq", "neq", "contains", "ocontains")
        if operator not in known or len(value) > 1024 or value.count(",") >= 50:
            raise BadQuery(f"filter[{field}][{operator}] is not allowed")
        found[field] = (field, operator, value)
    return list(found.values())


def _passes(stored: StoredEvent, field: str, operator: str, value: str) -> bool:
    if field in _TIMES:
        return _COMPARISONS[operator](stored.at(field), _time(value))
    text = stored.text(field)
    match operator:
        case "eq":
            return text == value
        case "neq":
            return text != value
        case "oeq":
            return text in value.split(",")
        case "contains":
            return value in text
        case _:
            return any(part in text for part in value.split(","))


def _one(query: Query, name: str) -> str:
    return query.get(name, [""])[0]


def _cursor(stored: StoredEvent, field: str) -> str:
    return base64.b64encode(f"{_text(stored.at(field))},{stored.row}".encode()).decode()


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery(f"invalid time: {text}") from None


def _text(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
