"""The listings of v3 and v1, from answers in memory and through a transport of httpx."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from spanmeter.openmeter.listing import Listing, Page, StoredEvent, V1Listing, V3Listing, listing_for
from spanmeter.openmeter.reading import Answer, Got, ServiceReader
from spanmeter.openmeter.reply import Halted, Refused, Retry
from spanmeter.testing.clock import ManualClock

NOW_NS = ManualClock().now_ns()
TOKEN = "spat_forthistestonly"


class Wire:
    """Answers with these documents and remembers the queries."""

    def __init__(self, *documents: object) -> None:
        self.documents = list(documents)
        self.queries: list[Mapping[str, str]] = []

    def __call__(self, query: Mapping[str, str]) -> Answer:
        self.queries.append(query)
        document = self.documents.pop(0)
        return Got(body=document if isinstance(document, bytes) else json.dumps(document).encode())


def v3(*events: dict[str, Any], following: str | None = None) -> dict[str, Any]:
    return {"data": list(events), "meta": {"page": {"size": 100, "next": following, "previous": None}}}


def item(name: str, **fields: object) -> dict[str, Any]:
    event = {"id": name, "source": "spanmeter", "type": "t", "subject": "s", "specversion": "1.0"}
    return {"event": event, "ingested_at": "2026-01-01T00:00:00.5Z", "stored_at": "2026-01-01T00:00:01Z", **fields}


def v1(name: str, source: str = "spanmeter", **fields: object) -> dict[str, Any]:
    event = {"id": name, "source": source, "type": "t", "subject": "s"}
    return {"event": event, "ingestedAt": "2026-01-01T00:00:00Z", "storedAt": "2026-01-01T00:00:01Z", **fields}


def test_a_page_of_v3() -> None:
    wrong = [{"code": "validation_error", "message": "no meter found for event type: t"}]
    wire = Wire(v3(item("a"), item("b", validation_errors=wrong, customer={"id": "01"}), following="Mg=="))
    assert V3Listing(wire, source="spanmeter").since(NOW_NS, cursor="MQ==") == Page(
        events=(
            StoredEvent(source="spanmeter", id="a", ingested_ns=NOW_NS + 500_000_000),
            StoredEvent(
                source="spanmeter",
                id="b",
                ingested_ns=NOW_NS + 500_000_000,
                errors=(("validation_error", "no meter found for event type: t"),),
            ),
        ),
        next="Mg==",
    )
    assert wire.queries == [
        {
            "page[size]": "100",
            "page[after]": "MQ==",
            "filter[source][eq]": "spanmeter",
            "filter[ingested_at][gte]": "2026-01-01T00:00:00.000000Z",
            "sort": "ingested_at asc",
        }
    ]


def test_next_as_a_uri_as_the_specification_says() -> None:
    wire = Wire(v3(item("a"), following="/v3/openmeter/events?page%5Bafter%5D=MjAyNi0wMQ%3D%3D&page%5Bsize%5D=1"))
    page = V3Listing(wire, source="s").since(0)
    assert isinstance(page, Page)
    assert page.next == "MjAyNi0wMQ=="


@pytest.mark.parametrize(
    ("ids", "fitting"),
    [
        (["a"], 1),
        (["a"] * 39, 39),
        (["a"] * 60, 40),
        (["x" * 300] * 9, 3),
        (["x" * 5000, "a"], 1),
        (["a,b", "c"], 1),
        (["a", "b,c", "d"], 1),
    ],
)
def test_how_many_ids_at_once(ids: list[str], fitting: int) -> None:
    assert V3Listing(Wire(), source="s").fitting(ids) == fitting


def test_ids_of_v3() -> None:
    wire = Wire(v3(), v3())
    listing = V3Listing(wire, source="s")
    listing.with_ids(["a,b"])
    listing.with_ids(["a", "b"])
    assert [query.get("filter[id][eq]", query.get("filter[id][oeq]")) for query in wire.queries] == ["a,b", "a,b"]
    assert "filter[id][eq]" in wire.queries[0]
    assert "filter[id][oeq]" in wire.queries[1]


def test_v1_compares_ids_and_sources_here() -> None:
    wire = Wire([v1("a-1"), v1("a", "other"), v1("a", validationError="one\ntwo")])
    page = V1Listing(wire, source="spanmeter", now_ns=lambda: NOW_NS).with_ids(["a"])
    assert isinstance(page, Page)
    [event] = page.events
    assert (event.id, event.errors) == ("a", (("validation_error", "one"), ("validation_error", "two")))


def test_v1_halves_a_span_that_is_full() -> None:
    full = [v1(str(number)) for number in range(100)]
    wire = Wire(full, [v1("x")], [v1("y")])
    listing = V1Listing(wire, source="spanmeter", now_ns=lambda: NOW_NS + 3_600_000_000_000)
    found: list[str] = []
    page = listing.since(NOW_NS)
    while isinstance(page, Page):
        found += [event.id for event in page.events]
        if not page.next:
            break
        page = listing.since(NOW_NS, cursor=page.next)
    assert found[100:] == ["x", "y"]
    assert [(query["ingestedAtFrom"][11:19], query["ingestedAtTo"][11:19]) for query in wire.queries] == [
        ("00:00:00", "01:01:00"),
        ("00:00:00", "00:30:30"),
        ("00:30:30", "01:01:00"),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"data":[{}],"meta":{"page":{}}}', b'{"data":[]}'])
def test_no_listing_at_all(body: bytes) -> None:
    answer = V3Listing(Wire(body), source="s").since(0)
    assert isinstance(answer, Halted)
    assert "no listing" in answer.detail


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://us.api.konghq.com/v3/openmeter/events", V3Listing),
        ("http://localhost:8888/api/v3/openmeter/events/", V3Listing),
        ("http://localhost:8888/api/v1/events", V1Listing),
        ("http://localhost:8888/collect", type(None)),
    ],
)
def test_which_listing(url: str, kind: type[Listing]) -> None:
    assert type(listing_for(url, Wire(), source="s", now_ns=lambda: 0)) is kind


class TestReader:
    def get(self, answer: httpx.Response | Exception, token: str = TOKEN) -> Answer:
        self.requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        transport = httpx.MockTransport(handle)
        with ServiceReader(clock=ManualClock(), token=lambda: token, transport=transport) as reader:
            return reader.get("https://example.com/v3/openmeter/events", {"filter[id][eq]": "a,b c"})

    def test_the_query_and_the_token(self) -> None:
        assert self.get(httpx.Response(200, content=b"{}", headers={"date": "x"})) == Got(body=b"{}", date="x")
        [request] = self.requests
        assert dict(request.url.params) == {"filter[id][eq]": "a,b c"}
        assert request.headers["authorization"] == f"Bearer {TOKEN}"

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (httpx.Response(403, content=TOKEN.encode()), Halted),
            (httpx.Response(400), Refused),
            (httpx.Response(503), Retry),
            (httpx.Response(302, headers={"location": "https://elsewhere.example"}), Halted),
            (httpx.Response(200, content=b"<!doctype html>"), Halted),
            (httpx.ReadTimeout("slow"), Retry),
            (httpx.ConnectError(f"no {TOKEN}"), Retry),
        ],
    )
    def test_what_goes_wrong_comes_back(self, answer: httpx.Response | Exception, kind: type[Answer]) -> None:
        reply = self.get(answer)
        assert type(reply) is kind
        assert TOKEN not in repr(reply)
        assert len(self.requests) == 1

    def test_a_token_that_cannot_be_used(self) -> None:
        assert isinstance(self.get(httpx.Response(200), token="a b"), Halted)
        assert self.requests == []
