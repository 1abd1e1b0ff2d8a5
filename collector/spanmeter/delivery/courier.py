"""Drains the outbox through the service, several batches at a time."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import assert_never

from spanmeter.clock import Clock
from spanmeter.delivery.batch import Batch, WaitingBatches
from spanmeter.delivery.flights import Flights, Landing, Sender, in_a_thread
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.record import Record
from spanmeter.delivery.throttle import Throttle
from spanmeter.logs import Complaints
from spanmeter.openmeter.reply import Halted, Refused, Retry, Taken
from spanmeter.store.outbox import DeliveryLog, Outbox

_LOGGER = logging.getLogger("spanmeter.delivery")
_STOP_EVERY_S = 0.1
"""How often `run` looks whether it should stop while it waits for an answer."""


class Courier:
    """Sends what waits in `outbox` until it is taken, or refused for reasons of its own.

    Taken: acknowledged. Retry: the same batch again after a growing wait, without end. Refused: divided until each
    guilty event stands alone, which is buried with the service's words. Halted: everything is released, an ERROR says
    what to mend, one event a minute is tried; nothing is buried. What one request learns holds for all: `Throttle`.

    Requests run beside the caller, by `spawn`; all else happens in the thread that steps. Batches are leased oldest
    first: while the service answers, an event is overtaken by those of `in_flight` batches at most. A batch that is to
    be tried again gives way to others for a while, so that new events go on though the service stumbles over an old
    one.

    Leases are kept over a Retry and given back by `drain`. If the outbox fails to write a verdict, that write is
    repeated before anything else is sent. `step`, `run` and `drain` may be called from different threads; they take
    turns. `random` draws from [0, 1); `sleep` is used by `drain` only.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        *,
        log: DeliveryLog,
        clock: Clock,
        random: Callable[[], float],
        pace: Pace,
        sleep: Callable[[float], None] = time.sleep,
        spawn: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._random = random
        self._pace = pace
        self._sleep = sleep
        self._flights = Flights(sender, spawn=spawn)
        self._waiting = WaitingBatches()
        self._throttle = Throttle(pace, clock=clock, random=random)
        self._turn = threading.Lock()
        self._complaints = Complaints(_LOGGER, clock=clock)
        self._record = Record(outbox, log, clock=clock, pace=pace, throttle=self._throttle, complaints=self._complaints)
        self._batch_bytes = pace.batch_bytes
        self._waiting_since_s: float | None = None
        self._more = False
        self._taken = 0

    def step(self) -> float:
        """Deals with what was answered and launches what may go. Returns the seconds to wait before the next step,
        unless an answer comes first; an earlier call does nothing.

        Raises what the outbox or the sender raise; the step may then be repeated.
        """
        with self._turn:
            self._land()
            launched = False
            while isinstance(following := self._next(hurry=False), Batch):
                self._flights.launch(following)
                launched = True
            self._land()
            if launched:
                return max(0.0, self._throttle.due_in_s) if self._has_room() else self._pace.look_again_s
            self._record.tell_success()
            return following

    def run(self, stop: threading.Event) -> None:
        """Steps until `stop` is set, and returns at once then. Never raises: errors are logged, waited for and the
        step repeated. What is under way stays so, and leases stay with the courier: call `drain` next, with 0 to send
        nothing more."""
        while not stop.is_set():
            try:
                wait_s = self.step()
            except Exception as error:  # noqa: BLE001 - the thread's edge
                stop.wait(self._stumble(error))
                continue
            if self._flights.batches:
                self._flights.wait(min(wait_s, _STOP_EVERY_S))
            else:
                stop.wait(wait_s)

    def drain(self, deadline_s: float) -> int:
        """Sends what waits, however young, until nothing does or `deadline_s` seconds are over; then releases all
        leases. Gives up early where the next trial would be too late (halted, backing off). Returns the depth left.

        Takes at most `deadline_s`: what is under way then may be taken without our knowing, and is sent again by
        whoever comes next, under the same ids. Never raises.
        """
        until_s = self._clock.monotonic() + deadline_s
        left = 0
        with self._turn:
            try:
                self._send_until(until_s)
                self._record.tell_success()
            except Exception as error:  # noqa: BLE001 - nobody is left to repeat it; the events stay where they are
                self._complaints.tell(logging.ERROR, "delivery: the last events could not be sent", error=error)
            try:
                self._release([*self._waiting.batches, *self._flights.batches])
                left = self._outbox.depth()
            except Exception as error:  # noqa: BLE001 - leases vanish with the process
                self._complaints.tell(logging.ERROR, "delivery: leases were not given back", error=error)
        return left

    def _send_until(self, until_s: float) -> None:
        while True:
            self._land()
            left_s = until_s - self._clock.monotonic()
            if left_s <= 0:
                return
            following = self._next(hurry=True)
            if isinstance(following, Batch):
                self._flights.launch(following, timeout_s=left_s)
            elif self._flights.batches:
                self._flights.wait(min(following, left_s))
            elif following >= left_s or (not self._waiting and self._outbox.depth() == 0):
                return
            else:
                self._sleep(following)

    def _has_room(self) -> bool:
        return len(self._flights.batches) < self._throttle.width

    def _held(self) -> int:
        """How many events are leased."""
        return sum(len(batch.events) for batch in (*self._waiting.batches, *self._flights.batches))

    def _may_hold_more(self) -> bool:
        """One batch more than can be under way, so that there is another to try when one has failed. Those that are
        held up while others are taken do not count, until they are very many."""
        held = [*self._waiting.batches, *self._flights.batches]
        usual = sum(batch.outdone < self._pace.outdone_limit for batch in held)
        return usual <= self._pace.in_flight and self._held() < self._pace.most_held

    def _next(self, *, hurry: bool) -> Batch | float:
        """The batch to be launched now, or seconds until there may be one. `hurry`: also one that is not full yet."""
        if not self._has_room():
            return self._pace.look_again_s
        if (wait_s := self._throttle.due_in_s) > 0:
            return wait_s
        now_s = self._clock.monotonic()
        if due := self._waiting.take_due(now_s):
            return due
        ripe_in_s = 0.0 if hurry else self._ripe_in_s()
        if ripe_in_s <= 0 and self._may_hold_more():
            if fresh := self._lease():
                return fresh
            ripe_in_s = self._pace.look_again_s
        if self._throttle.is_trying and (soonest := self._waiting.take_next()):
            return soonest
        return min(ripe_in_s or self._pace.look_again_s, self._waiting.due_s - now_s)

    def _ripe_in_s(self) -> float:
        """Seconds until a new batch should go, 0 for now. The outbox keeps no arrival times: an event is as old as the
        first look that found it, at most half an interval too young."""
        if self._more:
            return 0.0
        depth = self._outbox.depth() - self._held()
        if depth <= 0:
            self._waiting_since_s = None
            return self._pace.look_again_s
        now_s = self._clock.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if depth >= self._pace.batch_events or self._throttle.halt is not None:
            return 0.0
        ripe_in_s = self._waiting_since_s + self._pace.interval_s - now_s
        return min(ripe_in_s, self._pace.look_again_s) if ripe_in_s > 0 else 0.0

    def _lease(self) -> Batch | None:
        limit = 1 if self._throttle.halt is not None else self._pace.batch_events
        events = self._outbox.lease(limit, self._batch_bytes)
        self._waiting_since_s = None
        self._more = len(events) >= limit
        if not events:
            return None
        # Short of events by bytes, or by an empty outbox? Only counting tells, and only here is that cheap.
        self._more = self._more or self._outbox.depth() > len(events) + self._held()
        return Batch(events=events, taken_before=self._taken)

    def _land(self) -> None:
        """First all that was answered, in memory; then what may fail."""
        errors = [error for landing in self._flights.land() if (error := self._judge(landing))]
        self._record.write()
        if self._throttle.halt is not None:
            self._release(self._waiting.batches)
        self._record.tell_trouble()
        if errors:
            raise errors[0]

    def _judge(self, landing: Landing) -> Exception | None:
        batch, number, end = landing.batch, landing.number, landing.end
        if batch.released and not isinstance(end, Taken):
            return None  # somebody else's by now
        match end:
            case Taken():
                self._taken += 1
                self._answered(number)
                self._record.taken(batch.seqs)
            case Retry():
                self._delay(batch, number, end)
            case Refused():
                self._answered(number)
                self._refuse(batch, end)
            case Halted():
                before = self._throttle.halt
                if self._throttle.halted(number, end, launched=self._flights.launched):
                    self._record.trouble(end)
                    self._more = False
                    # The words may hold a request's id; only another status or hint is news.
                    if before is None or (before.status, before.hint) != (end.status, end.hint):
                        _LOGGER.error(
                            "delivery halted, nothing is lost: %s (HTTP %s): %s",
                            end.hint,
                            end.status or "-",
                            end.detail,
                        )
                self._waiting.put_first([batch])
            case Exception():
                self._waiting.put_first([batch])
                return end
            case _ as never:
                assert_never(never)
        return None

    def _delay(self, batch: Batch, number: int, reply: Retry) -> None:
        """To be tried again, after others have had a turn. Who fails while others are taken waits ever longer, is
        divided in the end, and then says nothing about the service any more."""
        suspected = batch.outdone >= self._pace.outdone_limit
        if suspected or self._taken > batch.taken_before:
            batch.outdone += 1
            batch.taken_before = self._taken
        if suspected:
            self._throttle.pause(reply.after_s or 0.0)
            self._record.trouble(reply)
            self._complaints.tell(
                logging.WARNING,
                "delivery: the service stumbles over %d events, to be tried again, others go on: %s",
                len(batch.events),
                reply.reason,
            )
        elif self._throttle.failed(number, reply, launched=self._flights.launched):
            self._record.trouble(reply)
        parts = batch.parts(()) if suspected and len(batch.events) > 1 else [batch]
        wait_s = self._pace.backoff_s(max(1, batch.outdone), floor_s=None, random=self._random)
        for part in parts:
            part.not_before_s = self._clock.monotonic() + max(0.0, self._throttle.due_in_s) + wait_s
        self._waiting.put_last(parts)

    def _refuse(self, batch: Batch, reply: Refused) -> None:
        if len(batch.events) == 1:
            self._record.refused(batch.seqs, reply)
            return
        if reply.status == 413:
            # Every batch refused so is longer than the service's limit, so this never falls below half of it.
            self._batch_bytes = max(1, min(self._batch_bytes, batch.size // 2))
            self._complaints.tell(
                logging.WARNING, "delivery: a batch was too large, now at most %d bytes", self._batch_bytes
            )
        self._waiting.put_first(batch.parts(reply.bad))

    def _answered(self, number: int) -> None:
        if self._throttle.answered(number):
            self._more = True
            _LOGGER.info("delivery resumed")

    def _stumble(self, error: Exception) -> float:
        wait_s = self._throttle.stumbled()
        self._complaints.tell(logging.ERROR, "delivery: a step failed, to be repeated in %.1f s", wait_s, error=error)
        return wait_s

    def _release(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        self._outbox.release([seq for batch in batches for seq in batch.seqs])
        for batch in batches:
            batch.released = True
        self._waiting.clear()
