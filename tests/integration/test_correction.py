"""Adjusting events, on a real file and through a service."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.errors import StoreBusyError, UsageError
from spanmeter.ledger.correction import Corrections
from spanmeter.ledger.report import usage_rows
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.correction import SqliteCorrectionBook
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.store.retention import Retention
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.metering_service import MeteringService
from tests.integration.events import Books, usage_event
from tests.spans import NOW_NS, SECOND_NS

ID = "call-1-input"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    books.make(usage_event(1), usage_event(2))
    yield books
    books.database.close()


@pytest.fixture
def sent(books: Books) -> Books:
    books.send()
    return books


def corrections(books: Books) -> Corrections:
    return Corrections(SqliteCorrectionBook(books.database), clock=ManualClock())


def tokens(books: Books) -> int:
    return sum(row.tokens for row in usage_rows(books.database))


def test_an_adjusting_event_goes_out_beside_the_original(books: Books) -> None:
    before = books.bodies()
    books.send()
    corrections(books).adjust(ID, tokens=-4, reason=" counted twice ")
    [adjusting] = [json.loads(event.body) for event in books.outbox.lease(9, 9999)]
    assert adjusting == json.loads(before[0]) | {
        "id": f"{ID}-correction-1",
        "data": {
            "type": "input",
            "tokens": -4,
            "model": "gpt-4o-mini",
            "provider": "openai",
            "correction_of": ID,
            "reason": "counted twice",
        },
    }
    assert books.bodies()[:2] == before
    assert tokens(books) == 16
    [row] = SqliteCorrectionBook(books.database).all()
    assert (row.corrected, row.tokens, row.reason, row.made_ns) == (ID, -4, "counted twice", NOW_NS)


def test_the_service_subtracts_it(books: Books) -> None:
    clock = ManualClock()
    with MeteringService() as service, EventsClient(service.url, clock=clock) as client:
        log = SqliteDeliveryLog(books.database)
        courier = Courier(
            books.outbox,
            client,
            log=log,
            clock=clock,
            random=random.random,
            pace=Pace(),
            sleep=clock.sleep,
            spawn=at_once,
        )
        assert courier.drain(10) == 0
        corrections(books).void(ID, reason="a test")
        assert courier.drain(10) == 0
        assert sum(event["data"]["tokens"] for event in service.events) == 10


def test_no_sum_below_zero_or_above_what_was_billed(sent: Books) -> None:
    books = sent
    make = corrections(books)
    make.adjust(ID, tokens=-6, reason="a")
    with pytest.raises(UsageError, match="4 are left: -5 would make -1"):
        make.adjust(ID, tokens=-5, reason="b")
    with pytest.raises(UsageError, match="would make 11"):
        make.adjust(ID, tokens=7, reason="b")
    make.adjust(ID, tokens=2, reason="too much was taken back")
    assert make.void(ID, reason="c").id == f"{ID}-correction-3"
    assert tokens(books) == 10
    with pytest.raises(UsageError, match="nothing to correct, 0 tokens are left of 10"):
        make.void(ID, reason="d")
    with pytest.raises(UsageError, match="nothing to correct"):
        make.adjust(ID, tokens=0, reason="d")
    assert [row.tokens for row in SqliteCorrectionBook(books.database).all()] == [-6, 2, -6]


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_is_needed(books: Books, reason: str) -> None:
    with pytest.raises(UsageError, match="reason"):
        corrections(books).void(ID, reason=reason)
    assert tokens(books) == 20


def test_what_cannot_be_corrected(books: Books) -> None:
    make = corrections(books)
    with pytest.raises(UsageError, match="still to be sent"):
        make.void(ID, reason="x")
    books.send(1)
    with pytest.raises(UsageError, match="call-9"):
        make.void("call-9", reason="x")
    made = make.adjust(ID, tokens=-1, reason="x")
    with pytest.raises(UsageError, match="correction itself"):
        make.void(made.id, reason="x")
    books.make(usage_event(1, source="other"))
    with pytest.raises(UsageError, match="other, spanmeter"):
        make.void(ID, reason="x")
    books.refuse()
    with pytest.raises(UsageError, match="refused"):
        make.void("call-2-input", reason="x")


def test_of_what_was_never_sent_it_stays_local(books: Books) -> None:
    books.send()
    books.make(usage_event(3), deliver=False)
    corrections(books).void("call-3-input", reason="x")
    assert books.where()["call-3-input-correction-1"] == "local_only"


def test_when_it_counts(sent: Books) -> None:
    assert corrections(sent).adjust(ID, tokens=-1, reason="x").time_ns == usage_event(1).time_ns
    assert corrections(sent).adjust(ID, tokens=-1, reason="y", time_ns=NOW_NS + 5).time_ns == NOW_NS + 5


def test_a_refused_correction_counts_until_it_is_given_up(books: Books) -> None:
    books.send()
    corrections(books).void(ID, reason="x")
    books.refuse()
    with pytest.raises(UsageError, match="0 tokens are left"):
        corrections(books).void(ID, reason="x")


def test_too_old_a_body(books: Books) -> None:
    books.send()
    Retention(books.database, body_ns=1, ledger_ns=10**18).step(NOW_NS + SECOND_NS)
    with pytest.raises(UsageError, match="SPANMETER_KEEP_BODIES_DAYS"):
        corrections(books).void(ID, reason="x")


def test_two_at_once(sent: Books) -> None:
    books = sent
    book = SqliteCorrectionBook(books.database)
    [read_early] = book.find(ID)
    made = corrections(books).adjust(ID, tokens=-6, reason="x")
    with pytest.raises(StoreBusyError):
        book.add(read_early, made, b"{}", reason="y", now_ns=NOW_NS)
    assert tokens(books) == 14
    assert len(book.all()) == 1


def test_pruning_takes_a_correction_with_its_event(books: Books) -> None:
    books.send()
    corrections(books).void(ID, reason="x")
    books.send()
    Retention(books.database, body_ns=1, ledger_ns=1).step(NOW_NS + SECOND_NS)
    assert books.where() == {}
    assert SqliteCorrectionBook(books.database).all() == []


def test_the_same_again_is_asked_for_twice_only_on_purpose(sent: Books) -> None:
    make = corrections(sent)
    make.adjust(ID, tokens=-2, reason="a test")
    with pytest.raises(UsageError, match="already, by call-1-input-correction-1"):
        make.adjust(ID, tokens=-2, reason=" a test ")
    make.adjust(ID, tokens=-2, reason="a test", again=True)
    assert len(SqliteCorrectionBook(sent.database).all()) == 2
