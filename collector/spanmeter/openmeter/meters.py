"""The meters that the service has: v3 (Konnect, OpenMeter) and v1 (OpenMeter)."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import msgspec

from spanmeter.openmeter.reading import Answer, Got, ServiceReader
from spanmeter.openmeter.reply import Halted, Refused, Retry

_PAGE = 100
_MOST_PAGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What of its events a meter counts. `aggregation` is in lower case; `dimensions` are JSON paths by name."""

    key: str
    event_type: str
    aggregation: str
    value: str
    dimensions: Mapping[str, str]


class _V3Meter(msgspec.Struct):
    key: str
    event_type: str
    aggregation: str
    value_property: str | None = None
    dimensions: dict[str, str] | None = None


class _V3Page(msgspec.Struct):
    data: list[_V3Meter]


class _V1Meter(msgspec.Struct, rename="camel"):
    slug: str
    event_type: str
    aggregation: str
    value_property: str | None = None
    group_by: dict[str, str] | None = None


def meters_url(events_url: str) -> str | None:
    """The meters beside an events endpoint; None where its path is not known."""
    parts = urlsplit(events_url)
    path = parts.path.rstrip("/")
    if not path.endswith(("/openmeter/events", "/v1/events")):
        return None
    return urlunsplit(parts._replace(path=path.removesuffix("events") + "meters", query=""))


def read_meters(reader: ServiceReader, url: str) -> list[Meter] | Retry | Refused | Halted:
    """All meters. `url` as `meters_url` gives it."""
    found: list[Meter] = []
    is_v3 = "/openmeter/" in urlsplit(url).path
    for number in range(1, _MOST_PAGES + 1):
        query = {"page[size]": str(_PAGE), "page[number]": str(number)} if is_v3 else {}
        answer: Answer = reader.get(url, query)
        if not isinstance(answer, Got):
            return answer
        try:
            page = _v3(answer.body) if is_v3 else _v1(answer.body)
        except (msgspec.MsgspecError, ValueError) as error:
            return Halted(
                status=200,
                detail=f"the answer is no list of meters ({type(error).__name__})",
                hint="check KONNECT_REGION or SPANMETER_ENDPOINT",
            )
        found += page
        if len(page) < _PAGE or not is_v3:
            break
    return found


def _v3(body: bytes) -> list[Meter]:
    return [
        _meter(meter.key, meter.event_type, meter.aggregation, meter.value_property, meter.dimensions)
        for meter in msgspec.json.decode(body, type=_V3Page).data
    ]


def _v1(body: bytes) -> list[Meter]:
    return [
        _meter(meter.slug, meter.event_type, meter.aggregation, meter.value_property, meter.group_by)
        for meter in msgspec.json.decode(body, type=list[_V1Meter])
    ]


def _meter(key: str, event_type: str, aggregation: str, value: str | None, dimensions: dict[str, str] | None) -> Meter:
    return Meter(
        key=key,
        event_type=event_type,
        aggregation=aggregation.lower(),
        value=value or "",
        dimensions=dimensions or {},
    )
