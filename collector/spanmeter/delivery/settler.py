"""Settlement: reads back what the service took, and says what is not there or will not be billed.

A 2xx answer says "taken", not "stored" and not "metered". The service's listing of events is read in the order in which
they came in, a hundred at a time, for as long as something waits to be read back: each event is read about once. What
that reading does not show in time is asked for by its id; what is not there is sent again under the same id.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from spanmeter.clock import Clock
from spanmeter.logs import Complaints
from spanmeter.openmeter.listing import Listed, Listing, Page
from spanmeter.openmeter.reply import Halted, Refused, Retry
from spanmeter.store.settlement import Reading, SettlementBook, Sought

_LOGGER = logging.getLogger("spanmeter.settlement")
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePace:
    """When what is asked. At most one request in `request_every_s`: 500 events a second are read back.

    The listing is read `first_look_s` after something was sent (OpenMeter stores every 2 s and takes note of new meters
    every 15 s) and then every `round_s`, each time twice as late, up to `slow_round_s`, while it brings nothing new.

    An event that it has not shown after `grace_s` is asked for by id. If it is not there it is sent again, and asked
    for `grace_s` · 2^n after the n-th time, `resend_limit` times in all. It is given up, loudly, when that was in vain,
    or at once if it was taken more than `resend_within_s` ago: then the service may have forgotten an id that a
    listing does not show for another reason, and bill it twice.

    Events with complaints are asked for again after `recheck_s`: whoever makes the meter or the customer mends old
    events too. What was sent more than `look_back_s` ago is not looked for: v1 lists 32 days.
    """

    request_every_s: float = 0.2
    first_look_s: float = 5.0
    round_s: float = 5.0
    slow_round_s: float = 60.0
    grace_s: float = 600.0
    resend_limit: int = 3
    resend_within_s: float = 86_400.0
    recheck_s: float = 3_600.0
    look_back_s: float = 30 * 86_400.0
    error_wait_s: float = 30.0
    off_wait_s: float = 3_600.0
    skew_s: float = 300.0
    """How far the service's clock may be behind; it matters for the first reading only."""
    overlap_s: float = 30.0
    """Read again at the next round: what came in earlier and was stored later."""


class Settler:
    """Reads back what `book` says was sent. `step` does at most one request; `run` steps until it is told to stop.

    Where the service does not let it list, settlement is off and says so, and tries again an hour later; nothing else
    is touched. Not for several threads.
    """

    def __init__(self, book: SettlementBook, listing: Listing, *, clock: Clock, pace: SettlePace | None = None) -> None:
        self._book = book
        self._listing = listing
        self._clock = clock
        self._pace = pace or SettlePace()
        self._complaints = Complaints(_LOGGER, clock=clock)
        self._state = ""
        self._low_ns: int | None = None
        self._newest_ns = 0
        self._cursor = ""
        self._reading = False
        self._news = 0
        self._round_s = self._pace.round_s
        self._next_round_s = float("-inf")

    def step(self) -> float:
        """One request at most; seconds to wait before the next step. Raises what the book raises."""
        if self._reading or self._begins_round():
            return self._read_on()
        now_ns = self._clock.now_ns()
        since_ns = now_ns - round(self._pace.look_back_s * _NS)
        overdue = self._book.overdue(
            now_ns=now_ns, grace_ns=round(self._pace.grace_s * _NS), since_ns=since_ns, limit=100
        )
        if overdue:
            return self._ask_for(overdue, self._miss)
        doubtful = self._book.complained_of(read_before_ns=now_ns - round(self._pace.recheck_s * _NS), limit=100)
        if doubtful:
            return self._ask_for(doubtful, self._see)
        return self._pace.round_s

    def run(self, stop: threading.Event) -> None:
        """Steps until `stop` is set; returns within one request's time of it. Never raises."""
        wait_s = 0.0
        while not stop.wait(wait_s):
            try:
                wait_s = self.step()
            except Exception as error:  # noqa: BLE001 - the thread's edge: settlement may fail, delivery must not
                wait_s = self._pace.error_wait_s
                self._complaints.tell(logging.WARNING, "settlement: a step failed, to be repeated", error=error)

    def _begins_round(self) -> bool:
        """Whether something waits to be read back and it is time to look."""
        if self._clock.monotonic() < self._next_round_s:
            return False
        now_ns = self._clock.now_ns()
        oldest_ns = self._book.oldest_unread_ns(
            since_ns=now_ns - round(self._pace.resend_within_s * _NS),
            until_ns=now_ns - round(self._pace.first_look_s * _NS),
        )
        if oldest_ns is None:
            return False
        if self._low_ns is None:
            self._low_ns = oldest_ns - round(self._pace.skew_s * _NS)
        self._reading, self._cursor, self._news, self._newest_ns = True, "", 0, 0
        return True

    def _read_on(self) -> float:
        page = self._answered(self._listing.since(self._low_ns or 0, cursor=self._cursor))
        if not isinstance(page, Page):
            self._reading = False
            return page
        self._news += self._settle(page)
        self._newest_ns = max([self._newest_ns, *(event.ingested_ns for event in page.events)])
        # A page that leads to itself would be read without end.
        if page.next and page.next != self._cursor:
            self._cursor = page.next
            return self._pace.request_every_s
        self._reading = False
        if self._newest_ns:
            self._low_ns = max(self._low_ns or 0, self._newest_ns - round(self._pace.overlap_s * _NS))
        self._round_s = self._pace.round_s if self._news else min(2 * self._round_s, self._pace.slow_round_s)
        self._next_round_s = self._clock.monotonic() + self._round_s
        return self._pace.request_every_s

    def _ask_for(self, sought: Sequence[Sought], otherwise: Callable[[Sequence[Sought]], None]) -> float:
        some = sought[: self._listing.fitting([event.id for event in sought])]
        page = self._answered(self._listing.with_ids([event.id for event in some]))
        if not isinstance(page, Page):
            return page
        self._settle(page)
        there = {event.id for event in page.events}
        if gone := [event for event in some if event.id not in there]:
            otherwise(gone)
        return self._pace.request_every_s

    def _settle(self, page: Page) -> int:
        readings = [Reading(id=event.id, errors=event.errors) for event in page.events]
        news = self._book.settle(readings, at_ns=self._clock.now_ns()) if readings else 0
        wrong = {message for reading in readings for _, message in reading.errors} if news else ()
        if wrong:
            self._complaints.tell(
                logging.ERROR,
                "settlement: the service holds events that it will not bill: %s (`spanmeter settlement`)",
                "; ".join(sorted(wrong)[:3]),
            )
        return news

    def _miss(self, gone: Sequence[Sought]) -> None:
        """They were taken and are not there."""
        now_ns = self._clock.now_ns()
        young_ns = now_ns - round(self._pace.resend_within_s * _NS)
        again = [x for x in gone if x.resent < self._pace.resend_limit and x.sent_ns >= young_ns]
        lost = [x for x in gone if x not in again]
        if again:
            self._book.resend([event.seq for event in again], at_ns=now_ns)
            self._complaints.tell(
                logging.WARNING, "settlement: %d events were taken and are not there, sent again", len(again)
            )
        if lost:
            self._book.give_up([event.seq for event in lost], at_ns=now_ns)
            self._complaints.tell(
                logging.ERROR,
                "settlement: %d events were taken by the service and are absent: they are not billed there "
                "(`spanmeter settlement` lists them)",
                len(lost),
            )

    def _see(self, gone: Sequence[Sought]) -> None:
        """They had complaints and are not listed now: what was read stands."""
        self._book.seen([event.seq for event in gone], at_ns=self._clock.now_ns())

    def _answered(self, answer: Listed) -> Page | float:
        """The page, or how long to wait."""
        match answer:
            case Page():
                self._tell("reading", "")
                return answer
            case Retry():
                self._complaints.tell(logging.WARNING, "settlement: to be tried again: %s", answer.reason)
                return max(self._pace.error_wait_s, answer.after_s or 0.0)
            case Halted(status=None):  # no answer was had: delivery meets the same and says what to mend
                return self._pace.error_wait_s
            case Halted() | Refused():
                self._switch_off(answer.status or 0, answer.detail)
                return self._pace.off_wait_s
            case _ as never:
                assert_never(never)

    def _switch_off(self, status: int, detail: str) -> None:
        why = {
            401: "the token is not good for listing events",
            403: "the token may send events but not list them (the Ingest role cannot): give its account a role that "
            "may view metering, or set SPANMETER_SETTLEMENT=off",
            404: "the service has no listing of events at this address",
        }.get(status, f"the listing of events cannot be read: {detail}")
        notice = f"events are not read back: HTTP {status}: {why}"
        if self._state != "off":
            _LOGGER.warning("settlement is off, delivery goes on: %s", notice)
        self._tell("off", notice)

    def _tell(self, state: str, notice: str) -> None:
        if state != self._state:
            self._book.tell(state=state, notice=notice)
            self._state = state
