"""The settler between a book and a listing in memory, and a clock that is told the time."""

import logging
import threading
from collections.abc import Sequence

import pytest

from spanmeter.delivery.settler import SettlePace, Settler
from spanmeter.openmeter.reply import Halted, Refused, Retry
from spanmeter.store.settlement import Sought
from spanmeter.testing.clock import ManualClock
from tests.unit.delivery.settling import MemoryBook, MemoryListing

PACE = SettlePace()
NO_CUSTOMER = (("validation_error", "no customer found for event subject: acme"),)


class Bench:
    """`run` lets time pass as the settler's own waits say."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.book = MemoryBook()
        self.listing = MemoryListing()
        self.settler = Settler(self.book, self.listing, clock=self.clock)

    def send(self, *names: str) -> None:
        self.book.sent |= dict.fromkeys(names, self.clock.now_ns())

    def store(self, *names: str, errors: tuple[tuple[str, str], ...] = ()) -> None:
        self.listing.hold(*names, at_ns=self.clock.now_ns(), errors=errors)

    def run(self, seconds: float) -> None:
        until_s = self.clock.monotonic() + seconds
        while (wait_s := self.settler.step()) < until_s - self.clock.monotonic():
            assert wait_s > 0
            self.clock.advance(wait_s)
        self.clock.advance(max(0.0, until_s - self.clock.monotonic()))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_sent_nothing_asked(bench: Bench) -> None:
    bench.run(86_400)
    assert bench.listing.asked == []


def test_what_is_there_is_settled_by_pages(bench: Bench) -> None:
    bench.send("1", "2", "3")
    bench.store("1", "2", "3")
    bench.run(PACE.first_look_s + 1)
    assert list(bench.book.settled) == ["1", "2", "3"]
    assert bench.listing.asked == ["since", "since 2"]
    assert bench.book.told == [("reading", "")]


def test_each_event_is_read_about_once(bench: Bench) -> None:
    for number in range(0, 3000, 3):
        names = [str(number + offset) for offset in range(3)]
        bench.send(*names)
        bench.store(*names)
        bench.run(1)
    bench.run(60)
    assert len(bench.book.settled) == 3000
    # Two events a page; a round in five seconds reads fifteen new events and those of the last thirty seconds.
    assert len(bench.listing.asked) < 1.2 * 3000 / 2 * (1 + PACE.overlap_s / PACE.round_s)


def test_while_nothing_comes_it_asks_less_and_less(bench: Bench) -> None:
    bench.send("1")
    bench.run(PACE.grace_s - 1)
    assert len(bench.listing.asked) < 15
    bench.send("2")
    bench.store("2")
    bench.run(PACE.slow_round_s + 10)
    assert list(bench.book.settled) == ["2"]


def test_what_is_not_there_is_sent_again_three_times_and_then_given_up(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send("1")
    times = []
    for _ in range(PACE.resend_limit):
        begun_s = bench.clock.monotonic()
        while not bench.book.outbox:
            bench.run(5)
        times.append(round((bench.clock.monotonic() - begun_s) / PACE.grace_s, 1))
        bench.book.outbox.clear()
        bench.send("1")
    assert times == [1, 2, 4]
    assert bench.book.absent == []
    bench.run(8 * PACE.grace_s + 60)
    assert bench.book.absent == ["1"]
    assert bench.book.outbox == []
    assert [record.levelno for record in caplog.records][-1] == logging.ERROR
    asked = len(bench.listing.asked)
    bench.run(86_400)
    assert len(bench.listing.asked) == asked  # that is for a person now


def test_what_the_reading_missed_is_found_by_its_id(bench: Bench) -> None:
    bench.store("1", "2")
    bench.clock.advance(PACE.skew_s + 60)  # a replay: they came in long ago
    bench.send("1", "2")
    bench.run(PACE.grace_s + 30)
    assert set(bench.book.settled) == {"1", "2"}
    assert "1,2" in bench.listing.asked
    assert bench.book.outbox == []


def test_what_was_taken_long_ago_is_not_sent_again(bench: Bench) -> None:
    bench.send("1")
    bench.clock.advance(PACE.resend_within_s + 1)
    bench.run(60)
    assert (bench.book.outbox, bench.book.absent) == ([], ["1"])


def test_complaints_are_kept_told_and_looked_at_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.send("1")
    bench.store("1", errors=NO_CUSTOMER)
    bench.run(PACE.recheck_s / 2)
    assert bench.book.settled == {"1": NO_CUSTOMER}
    assert "no customer found for event subject: acme" in caplog.text
    bench.listing.held.clear()
    bench.store("1")
    bench.run(PACE.recheck_s)
    assert bench.book.settled == {"1": ()}


def test_a_complained_of_event_that_is_not_listed_any_more_is_asked_for_hourly(bench: Bench) -> None:
    bench.send("1")
    bench.store("1", errors=NO_CUSTOMER)
    bench.run(60)
    bench.listing.held.clear()
    bench.listing.asked.clear()
    bench.run(3 * PACE.recheck_s)
    assert bench.listing.asked == ["1"] * 3
    assert bench.book.settled == {"1": NO_CUSTOMER}


@pytest.mark.parametrize(
    "answer",
    [Halted(status=status, detail="d", hint="h") for status in (401, 403, 404)] + [Refused(status=400, detail="d")],
)
def test_what_may_not_be_read_switches_it_off_with_one_notice(
    bench: Bench, answer: Halted | Refused, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send("1")
    bench.listing.script = [answer] * 20
    bench.run(5 * PACE.off_wait_s)
    [(state, notice)] = bench.book.told
    assert state == "off"
    assert f"HTTP {answer.status}" in notice
    assert len(caplog.records) == 1
    assert len(bench.listing.asked) <= 6  # once an hour, for a role given meanwhile
    assert (bench.book.outbox, bench.book.absent) == ([], [])
    bench.listing.script.clear()
    bench.store("1")
    bench.run(2 * PACE.off_wait_s)
    assert bench.book.told[-1] == ("reading", "")


def test_trouble_is_waited_for(bench: Bench) -> None:
    bench.send("1")
    bench.store("1")
    bench.listing.script = [Retry(reason="HTTP 503", after_s=90.0), Halted(status=None, detail="TLS", hint="h")]
    bench.run(PACE.first_look_s + 89)
    assert len(bench.listing.asked) == 1
    bench.run(60)
    assert list(bench.book.settled) == ["1"]
    assert bench.book.told == [("reading", "")]


def test_nothing_is_called_absent_while_the_listing_fails(bench: Bench) -> None:
    bench.send("1")
    bench.listing.script = [Retry(reason="HTTP 500")] * 1000
    bench.run(10 * PACE.grace_s)
    assert (bench.book.outbox, bench.book.absent) == ([], [])


def test_the_thread_survives_the_book(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def overdue(**_: object) -> Sequence[Sought]:
        stop.set()
        raise OSError("broken")

    monkeypatch.setattr(bench.book, "overdue", overdue)
    bench.settler.run(stop)
    assert stop.is_set()
