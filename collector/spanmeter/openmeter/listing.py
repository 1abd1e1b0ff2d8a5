"""Reading back what the service holds: its listings of events, v3 (Konnect, OpenMeter) and v1 (OpenMeter).

v3 has filters, a cursor, and up to 100 events a page. v1 has neither a cursor nor an exact filter by id: a span of time
that is full is halved until it is not, and ids are compared here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from spanmeter.openmeter.reading import Answer, Got
from spanmeter.openmeter.reply import Halted, Refused, Retry

PAGE = 100
# OpenMeter takes 50 items and 1024 characters in one filter (api/v3/filters/parse.go); some room is left.
_IDS = 40
_ID_CHARS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_V1_SHORTEST_NS = 1_000_000

Get = Callable[[Mapping[str, str]], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event that the service holds, when it came there, and what the service has against it: (code, message)."""

    source: str
    id: str
    ingested_ns: int
    errors: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some events. `next` continues the same question; "" where there is no more."""

    events: tuple[StoredEvent, ...]
    next: str = ""


Listed = Page | Retry | Refused | Halted


class Listing(Protocol):
    """The events of one source. Nothing is raised: what goes wrong comes back."""

    def since(self, from_ns: int, *, cursor: str = "") -> Listed:
        """Events that came in at `from_ns` or later, by the service's clock; `cursor` is a page's `next`."""
        ...

    def with_ids(self, ids: Sequence[str]) -> Listed:
        """Those of these events that there are. `ids` are no more than `fitting` says."""
        ...

    def fitting(self, ids: Sequence[str]) -> int:
        """How many of these, from the first on, can be asked for at once; at least one."""
        ...


def listing_for(url: str, get: Get, *, source: str, now_ns: Callable[[], int]) -> Listing | None:
    """The listing at an events endpoint, told by its path; None where it is neither of v3 nor of v1."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/openmeter/events"):
        return V3Listing(get, source=source)
    return V1Listing(get, source=source, now_ns=now_ns) if path.endswith("/v1/events") else None


class _Name(msgspec.Struct):
    id: str
    source: str


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _V3Item(msgspec.Struct):
    event: _Name
    ingested_at: str
    validation_errors: list[_Error] | None = None


class _V3Position(msgspec.Struct):
    next: str | None = None


class _V3Meta(msgspec.Struct):
    page: _V3Position


class _V3Page(msgspec.Struct):
    data: list[_V3Item]
    meta: _V3Meta


class _V1Item(msgspec.Struct, rename="camel"):
    event: _Name
    ingested_at: str
    validation_error: str | None = None


class V3Listing:
    """`GET …/openmeter/events`. Konnect's specification allows one operator a field and calls the endpoint beta."""

    def __init__(self, get: Get, *, source: str) -> None:
        self._get = get
        self._source = source

    def since(self, from_ns: int, *, cursor: str = "") -> Listed:
        parameters = {"filter[ingested_at][gte]": _rfc3339(from_ns), "sort": "ingested_at asc"}
        return self._page(parameters | ({"page[after]": cursor} if cursor else {}))

    def with_ids(self, ids: Sequence[str]) -> Listed:
        operator = "eq" if len(ids) == 1 else "oeq"
        return self._page({f"filter[id][{operator}]": ",".join(ids)})

    def fitting(self, ids: Sequence[str]) -> int:
        chars = 0
        for count, event_id in enumerate(ids[:_IDS]):
            chars += len(event_id) + 1
            if "," in event_id or chars > _ID_CHARS:
                return max(1, count)
        return min(len(ids), _IDS)

    def _page(self, parameters: Mapping[str, str]) -> Listed:
        answer = self._get({"page[size]": str(PAGE), "filter[source][eq]": self._source, **parameters})
        if not isinstance(answer, Got):
            return answer
        try:
            page = msgspec.json.decode(answer.body, type=_V3Page)
            events = tuple(
                StoredEvent(
                    source=item.event.source,
                    id=item.event.id,
                    ingested_ns=_ns(item.ingested_at),
                    errors=tuple((error.code, error.message) for error in item.validation_errors or ()),
                )
                for item in page.data
            )
        except (msgspec.MsgspecError, ValueError) as error:
            return _unreadable(error)
        return Page(events=events, next=_cursor(page.meta.page.next or ""))


class V1Listing:
    """`GET /api/v1/events`. It shows events of the last 32 days only, by the time of the call."""

    def __init__(self, get: Get, *, source: str, now_ns: Callable[[], int]) -> None:
        self._get = get
        self._source = source
        self._now_ns = now_ns

    def since(self, from_ns: int, *, cursor: str = "") -> Listed:
        """`cursor` lists the spans of time, each `from-to` in ns, that are still to be read."""
        # A minute for a service whose clock is ahead.
        spans = cursor.split(",") if cursor else [f"{from_ns}-{max(from_ns, self._now_ns()) + 60_000_000_000}"]
        first_ns, last_ns = (int(end) for end in spans[0].split("-"))
        page = self._page({"ingestedAtFrom": _rfc3339(first_ns), "ingestedAtTo": _rfc3339(last_ns)})
        if not isinstance(page, Page):
            return page
        rest = spans[1:]
        if len(page.events) >= PAGE and last_ns - first_ns > _V1_SHORTEST_NS:
            middle_ns = (first_ns + last_ns) // 2
            rest = [f"{first_ns}-{middle_ns}", f"{middle_ns}-{last_ns}", *rest]
        return Page(events=self._own(page), next=",".join(rest))

    def with_ids(self, ids: Sequence[str]) -> Listed:
        page = self._page({"id": ids[0]})
        if not isinstance(page, Page):
            return page
        return Page(events=tuple(event for event in self._own(page) if event.id == ids[0]))

    def fitting(self, ids: Sequence[str]) -> int:
        return 1

    def _own(self, page: Page) -> tuple[StoredEvent, ...]:
        return tuple(event for event in page.events if event.source == self._source)

    def _page(self, parameters: Mapping[str, str]) -> Listed:
        answer = self._get({"limit": str(PAGE), **parameters})
        if not isinstance(answer, Got):
            return answer
        try:
            events = tuple(
                StoredEvent(
                    source=item.event.source,
                    id=item.event.id,
                    ingested_ns=_ns(item.ingested_at),
                    errors=tuple(
                        ("validation_error", line) for line in (item.validation_error or "").splitlines() if line
                    ),
                )
                for item in msgspec.json.decode(answer.body, type=list[_V1Item])
            )
        except (msgspec.MsgspecError, ValueError) as error:
            return _unreadable(error)
        return Page(events=events)


def _unreadable(error: Exception) -> Halted:
    return Halted(
        status=200,
        detail=f"the answer is no listing of events ({type(error).__name__})",
        hint="check KONNECT_REGION or SPANMETER_ENDPOINT",
    )


def _cursor(value: str) -> str:
    """The cursor itself: the specification says that `next` is a URI, OpenMeter's code makes it a cursor."""
    return (parse_qs(urlsplit(value).query).get("page[after]") or [value])[0]


def _rfc3339(time_ns: int) -> str:
    # Rounded down: what is asked for begins no later than was meant.
    return (_EPOCH + timedelta(microseconds=time_ns // 1_000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _ns(text: str) -> int:
    when = datetime.fromisoformat(text)
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1) * 1_000
