"""Events of the past sent again, on a real file and through a real service."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.replay import SAFE_AGE_H, Replay, ReplayRange
from spanmeter.errors import UsageError
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.store.redelivery import PAGE, SqliteRedelivery, Whereabouts
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.metering_service import MeteringService
from tests.integration.events import Books, usage_event
from tests.spans import NOW_NS, SECOND_NS

EVER = ReplayRange(from_ns=0, to_ns=2**63 - 1)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    yield books
    books.database.close()


def replay(books: Books, *, hours_later: float = 1.0) -> Replay:
    clock = ManualClock()
    clock.advance(hours_later * 3600)
    return Replay(SqliteRedelivery(books.database), clock=clock)


def test_the_range_is_of_call_times_and_half_open(books: Books) -> None:
    books.make(*(usage_event(number) for number in (3, 1, 2, 4)))
    books.send()
    chosen = ReplayRange(from_ns=NOW_NS + 2 * SECOND_NS, to_ns=NOW_NS + 4 * SECOND_NS)
    assert replay(books).run(chosen).put_back == {Whereabouts.SENT: 2}
    assert books.tables() == ["sent", "outbox", "outbox", "sent"]
    assert replay(books).count(chosen) == 2


def test_one_tenant(books: Books) -> None:
    books.make(usage_event(1), usage_event(2, subject="globex"))
    books.send()
    chosen = ReplayRange(from_ns=0, to_ns=2**63 - 1, subject="globex")
    replay(books).run(chosen)
    assert books.tables() == ["sent", "outbox"]


def test_only_what_was_recorded_without_a_service(books: Books) -> None:
    books.make(usage_event(1), deliver=False)
    books.make(usage_event(2))
    books.send()
    chosen = ReplayRange(from_ns=0, to_ns=2**63 - 1, local_only=True)
    result = replay(books, hours_later=1000).run(chosen)
    assert result.put_back == {Whereabouts.LOCAL: 1}
    assert result.left == {Whereabouts.SENT: 1}
    assert books.tables() == ["outbox", "sent"]


def test_what_waits_and_what_was_refused_stays(books: Books) -> None:
    books.make(usage_event(1), usage_event(2))
    books.refuse(1)
    result = replay(books).run(EVER)
    assert result.put_back.total() == 0
    assert result.left == {Whereabouts.REFUSED: 1, Whereabouts.WAITING: 1}
    assert books.tables() == ["dead_letter", "outbox"]


def test_a_plan_changes_nothing(books: Books) -> None:
    books.make(usage_event(1), usage_event(2))
    books.send(1)
    result = replay(books).plan(EVER)
    assert (result.put_back, result.left) == ({Whereabouts.SENT: 1}, {Whereabouts.WAITING: 1})
    assert books.tables() == ["sent", "outbox"]


def test_what_the_service_may_have_forgotten_is_refused_as_a_whole(books: Books) -> None:
    books.make(usage_event(1))
    books.send(at_ns=NOW_NS)
    books.make(usage_event(2))
    books.send(at_ns=NOW_NS + 3600 * SECOND_NS)
    late = replay(books, hours_later=SAFE_AGE_H + 0.5)
    with pytest.raises(UsageError, match=f"1 of these events .* {SAFE_AGE_H} h") as caught:
        late.run(EVER)
    assert "--force" in str(caught.value.hint)
    assert books.tables() == ["sent", "sent"]
    result = late.run(EVER, force=True)
    assert (result.put_back.total(), result.too_old) == (2, 1)
    assert books.tables() == ["outbox", "outbox"]


def test_many(books: Books) -> None:
    count = 2 * PAGE + 1
    books.make(*(usage_event(number % 7 + 10 * (number // 7)) for number in range(count)))
    books.send()
    heard: list[int] = []
    assert replay(books).run(EVER, progress=heard.append).put_back.total() == count
    assert sum(heard) == count
    assert set(books.where().values()) == {"outbox"}


def test_sent_twice_counted_once(books: Books) -> None:
    clock = ManualClock()
    books.make(*(usage_event(number) for number in range(5)))
    with MeteringService() as service, EventsClient(service.url, clock=clock) as client:
        courier = Courier(
            books.outbox,
            client,
            log=SqliteDeliveryLog(books.database),
            clock=clock,
            random=random.random,
            pace=Pace(),
            spawn=at_once,
            sleep=clock.sleep,
        )
        assert courier.drain(10) == 0
        assert Replay(SqliteRedelivery(books.database), clock=clock).run(EVER).put_back.total() == 5
        assert courier.drain(10) == 0
        assert len(service.events) == service.duplicates == 5
    assert books.tables() == ["sent"] * 5
