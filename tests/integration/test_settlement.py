"""Settlement on a real file, against a service that lists as v3 and as v1 do."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.settler import SettlePace, Settler
from spanmeter.ledger.settlement import missing_rows, read_settlement
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.listing import listing_for
from spanmeter.openmeter.reading import ServiceReader
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.store.retention import Retention
from spanmeter.store.settlement import SqliteSettlementBook
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.faults import TakeAndLose
from spanmeter.testing.metering_service import MeteringService
from tests.integration.events import Books, usage_event
from tests.spans import SECOND_NS

PACE = SettlePace()
TOKEN = "spat_forthistestonly"


class Way:
    """The whole way after the outbox, on a clock that is told the time."""

    def __init__(self, folder: Path, version: str, **service: object) -> None:
        self.clock = ManualClock()
        self.books = Books(folder)
        self.service = MeteringService(clock=self.clock, token=TOKEN, **service)  # type: ignore[arg-type]
        self.service.__enter__()
        url = self.service.v1_url if version == "v1" else self.service.url
        self.client = EventsClient(url, clock=self.clock, token=lambda: TOKEN)
        self.courier = Courier(
            self.books.outbox,
            self.client,
            log=SqliteDeliveryLog(self.books.database),
            clock=self.clock,
            random=random.random,
            pace=Pace(),
            spawn=at_once,
            sleep=self.clock.sleep,
        )
        self.reader = ServiceReader(clock=self.clock, token=lambda: TOKEN)
        listing = listing_for(
            url, lambda query: self.reader.get(url, query), source="spanmeter", now_ns=self.clock.now_ns
        )
        assert listing is not None
        self.settler = Settler(
            SqliteSettlementBook(self.books.database, source="spanmeter"), listing, clock=self.clock, pace=PACE
        )

    def run(self, seconds: float) -> None:
        """Time passes: settlement as its waits say, delivery whenever something waits."""
        until_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until_s:
            wait_s = self.settler.step()
            self.courier.drain(1)
            self.clock.advance(min(wait_s, until_s - self.clock.monotonic()))

    def close(self) -> None:
        self.reader.close()
        self.client.close()
        self.service.__exit__(None, None, None)
        self.books.database.close()


@pytest.fixture(params=["v3", "v1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def way(tmp_path: Path, version: str) -> Iterator[Way]:
    way = Way(tmp_path, version)
    yield way
    way.close()


def test_everything_sent_is_settled(way: Way) -> None:
    for start in range(0, 250, 50):  # v1 shows no more than a hundred of one millisecond
        way.books.make(*(usage_event(number) for number in range(start, start + 50)))
        way.run(0.5)
    way.books.make(usage_event(999, source="other"))  # of another setting of SPANMETER_EVENT_SOURCE: not read back
    way.run(30)
    state = read_settlement(way.books.database)
    assert (state.settled, state.sent, state.absent, state.state) == (250, 1, 0, "reading")
    assert way.service.duplicates == 0
    # 3 pages of v3, or halves of a span that holds 100; then a round each, seldom, for the one of the other source.
    assert len(way.service.reads) < 100


def test_what_was_taken_and_lost_is_sent_again(way: Way) -> None:
    way.service.faults = [TakeAndLose()]
    way.books.make(*(usage_event(number) for number in range(60)))
    way.run(PACE.grace_s - 1)
    assert read_settlement(way.books.database).sent == 60
    way.run(120)
    state = read_settlement(way.books.database)
    assert (state.settled, state.missing, state.absent) == (60, 0, 0)
    assert len(way.service.events) == 60


def test_what_the_service_claims_and_never_stores_is_absent(way: Way) -> None:
    way.service.faults = [TakeAndLose(claims=True)]
    way.books.make(usage_event(1))
    way.run(20 * PACE.grace_s)
    state = read_settlement(way.books.database)
    assert (state.sent, state.settled, state.absent) == (1, 0, 1)
    [row] = missing_rows(way.books.database)
    assert (row.id, row.resent, row.absent, row.tokens) == ("call-1-input", PACE.resend_limit, True, 10)
    assert way.service.duplicates == PACE.resend_limit
    assert way.books.tables() == ["sent"]


@pytest.mark.parametrize("version", ["v3"])
def test_ids_with_commas_and_long_ones_are_found(way: Way) -> None:

    way.service.faults = [None, None]
    ids = ["a,b", "x" * 900, *(f"{number}-" + "y" * 200 for number in range(20)), "c"]
    way.books.make(*(usage_event(number)._replace(id=event_id) for number, event_id in enumerate(ids)))
    way.courier.drain(1)
    way.clock.advance(90_000)  # too long ago for the reading in order
    way.run(60)
    assert read_settlement(way.books.database).settled == len(ids)


@pytest.mark.parametrize(("version", "account"), [("v3", {"customers": ["acme"]}), ("v1", {"customers": ["acme"]})])
def test_complaints_by_tenant_until_they_are_mended(tmp_path: Path, version: str, account: dict[str, object]) -> None:
    way = Way(tmp_path / "own", version, **account)
    way.books.make(usage_event(1), usage_event(2, subject="globex"), usage_event(3, subject="globex", tokens=5))
    way.run(30)
    state = read_settlement(way.books.database)
    assert state.settled == 3
    [row] = state.complaints
    assert (row.subject, row.events, row.tokens) == ("globex", 2, 15)
    assert row.message == "no customer found for event subject: globex"
    way.service.know(customers=["acme", "globex"])
    way.run(PACE.recheck_s + 60)
    assert read_settlement(way.books.database).complaints == []
    way.close()


def test_an_event_without_a_meter(tmp_path: Path, version: str) -> None:
    way = Way(tmp_path / "own", version, meters=())
    way.books.make(usage_event(1))
    way.run(30)
    [row] = read_settlement(way.books.database).complaints
    assert row.message == "no meter found for event type: kong.llm_request"
    way.close()


def test_a_token_that_may_only_ingest(tmp_path: Path, version: str) -> None:
    way = Way(tmp_path / "own", version, ingest_only=True)
    way.books.make(usage_event(1))
    way.run(2 * PACE.grace_s)
    state = read_settlement(way.books.database)
    assert (state.state, state.sent, state.absent, state.missing) == ("off", 1, 0, 0)
    assert "403" in state.notice
    assert TOKEN not in json.dumps(state.notice)
    assert len(way.service.reads) == 0
    assert len(way.service.events) == 1
    way.close()


def test_what_retention_let_go_of_goes_altogether(way: Way) -> None:
    way.books.make(usage_event(1), usage_event(2))
    way.run(30)
    way.books.make(usage_event(3))
    retention = Retention(way.books.database, body_ns=1, ledger_ns=3600 * SECOND_NS)
    assert not retention.step(way.clock.now_ns())
    assert way.books.tables() == ["settled", "settled", "outbox"]
    way.run(30)
    assert not retention.step(way.clock.now_ns() + 2 * 3600 * SECOND_NS)
    assert way.books.where() == {}


def test_an_event_whose_body_is_gone_is_never_sent_empty(way: Way) -> None:
    way.service.faults = [TakeAndLose()]
    way.books.make(usage_event(1))
    way.courier.drain(1)
    Retention(way.books.database, body_ns=1, ledger_ns=10**18).step(way.clock.now_ns() + SECOND_NS)
    way.run(20 * PACE.grace_s)
    assert read_settlement(way.books.database).absent == 1
    assert len(way.service.requests) == 1
