"""Drains the outbox through the service, one request a step."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from spanmeter.clock import Clock
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.split import divide
from spanmeter.logs import Complaints
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken
from spanmeter.store.outbox import DeliveryLog, Outbox, Pending

_LOGGER = logging.getLogger("spanmeter.delivery")


class Sender(Protocol):
    """Sends encoded events as one batch and says what became of them; `timeout_s` may shorten its own timeout."""

    def send(self, bodies: Sequence[bytes], *, timeout_s: float | None = None) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the service said of events, until the outbox has it on disk. `refusal` is None for taken ones."""

    seqs: tuple[int, ...]
    refusal: Refused | None
    at_ns: int


class Courier:
    """Sends what waits in `outbox` until it is taken, or refused for reasons of its own.

    Taken: acknowledged. Retry: the same batch again after a growing wait, without end. Refused: divided until each
    guilty event stands alone, which is buried with the service's words. Halted: everything is released, an ERROR says
    what to mend, one event a minute is tried; nothing is buried.

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
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._log = log
        self._clock = clock
        self._random = random
        self._pace = pace
        self._sleep = sleep
        self._turn = threading.Lock()
        self._complaints = Complaints(_LOGGER, clock=clock)
        self._groups: deque[Sequence[Pending]] = deque()
        self._unwritten: _Verdict | None = None
        self._batch_bytes = pace.batch_bytes
        self._not_before_s = 0.0
        self._waiting_since_s: float | None = None
        self._more = False
        self._failures = 0
        self._buried_in_a_row = 0
        self._halt: Halted | None = None
        self._success_ns: int | None = None
        self._success_told_s: float | None = None

    def step(self) -> float:
        """Does at most one request. Returns the seconds to wait before the next step; an earlier call does nothing.

        Raises what the outbox or the sender raise; the step may then be repeated.
        """
        with self._turn:
            wait_s = self._due_in_s()
            if wait_s <= 0 and self._is_idle():
                wait_s = self._ripe_in_s()
            if wait_s > 0:
                self._tell_success()
                return wait_s
            self._advance(None)
            return max(0.0, self._due_in_s())

    def run(self, stop: threading.Event) -> None:
        """Steps until `stop` is set; returns within one request's time of it. Never raises: errors are logged, waited
        for and the step repeated. Leases stay with the courier: call `drain` next, with 0 to send nothing more."""
        while not stop.is_set():
            try:
                wait_s = self.step()
            except Exception as error:  # noqa: BLE001 - the thread's edge
                wait_s = self._stumble(error)
            stop.wait(wait_s)

    def drain(self, deadline_s: float) -> int:
        """Sends what waits, however young, until nothing does or `deadline_s` seconds are over; then releases all
        leases. Gives up early where the next trial would be too late (halted, backing off). Returns the depth left.

        Takes at most `deadline_s` plus what one request started before needs to time out. Never raises.
        """
        until_s = self._clock.monotonic() + deadline_s
        left = 0
        with self._turn:
            try:
                self._send_until(until_s)
                self._tell_success()
            except Exception as error:  # noqa: BLE001 - nobody is left to repeat it; the events stay where they are
                self._complaints.tell(logging.ERROR, "delivery: the last events could not be sent", error=error)
            try:
                self._release_all()
                left = self._outbox.depth()
            except Exception as error:  # noqa: BLE001 - leases vanish with the process
                self._complaints.tell(logging.ERROR, "delivery: leases were not given back", error=error)
        return left

    def _send_until(self, until_s: float) -> None:
        while (left_s := until_s - self._clock.monotonic()) > 0:
            wait_s = self._due_in_s()
            if wait_s > 0:
                if wait_s >= left_s:
                    return
                self._sleep(wait_s)
            elif self._is_idle() and self._outbox.depth() == 0:
                return
            else:
                self._advance(left_s)

    def _is_idle(self) -> bool:
        return not self._groups and self._unwritten is None

    def _due_in_s(self) -> float:
        return self._not_before_s - self._clock.monotonic()

    def _wait(self, wait_s: float) -> None:
        self._not_before_s = self._clock.monotonic() + wait_s

    def _ripe_in_s(self) -> float:
        """Seconds until a batch should go, 0 for now. The outbox keeps no arrival times: an event is as old as the
        first look that found it, at most half an interval too young."""
        if self._more:
            return 0.0
        depth = self._outbox.depth()
        if depth == 0:
            self._waiting_since_s = None
            return self._pace.look_again_s
        now_s = self._clock.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if depth >= self._pace.batch_events or self._halt is not None:
            return 0.0
        ripe_in_s = self._waiting_since_s + self._pace.interval_s - now_s
        return min(ripe_in_s, self._pace.look_again_s) if ripe_in_s > 0 else 0.0

    def _advance(self, timeout_s: float | None) -> None:
        self._write_verdict()
        if not self._groups and not self._lease():
            self._wait(self._pace.look_again_s)
            self._tell_success()
            return
        group = self._groups[0]
        reply = self._sender.send([event.body for event in group], timeout_s=timeout_s)
        match reply:
            case Taken():
                self._answers_again()
                self._groups.popleft()
                self._settle(group, None)
            case Retry():
                self._back_off(reply)
            case Refused():
                self._answers_again()
                self._groups.popleft()
                self._refuse(group, reply)
            case Halted():
                self._stop_sending(reply)
            case _ as never:
                assert_never(never)

    def _lease(self) -> bool:
        limit = 1 if self._halt is not None else self._pace.batch_events
        batch = self._outbox.lease(limit, self._batch_bytes)
        self._waiting_since_s = None
        self._more = len(batch) >= limit
        if batch:
            self._groups.append(batch)
            # Short of events by bytes, or by an empty outbox? Only counting tells, and only here is that cheap.
            self._more = self._more or self._outbox.depth() > len(batch)
        return bool(batch)

    def _settle(self, group: Sequence[Pending], refusal: Refused | None) -> None:
        seqs = tuple(event.seq for event in group)
        self._unwritten = _Verdict(seqs=seqs, refusal=refusal, at_ns=self._clock.now_ns())
        self._write_verdict()

    def _write_verdict(self) -> None:
        verdict = self._unwritten
        if verdict is None:
            return
        if verdict.refusal is None:
            self._outbox.ack(verdict.seqs, at_ns=verdict.at_ns)
            self._unwritten = None
            self._buried_in_a_row = 0
            self._success_ns = verdict.at_ns
            if self._success_told_s is None or self._clock.monotonic() - self._success_told_s >= 1.0:
                self._tell_success()
            return
        status, reason = verdict.refusal.status, verdict.refusal.detail
        self._outbox.bury(verdict.seqs, status=status, reason=reason, at_ns=verdict.at_ns)
        self._unwritten = None
        self._complaints.tell(
            logging.ERROR, "delivery: an event was refused and is a dead letter: HTTP %d: %s", status, reason
        )
        self._buried_in_a_row += 1
        if self._buried_in_a_row >= self._pace.fuse_events:
            self._buried_in_a_row = 0
            self._wait(self._pace.halt_s)
            self._complaints.tell(
                logging.ERROR, "delivery: nothing but refusals, resting for %.0f s: HTTP %d", self._pace.halt_s, status
            )

    def _refuse(self, group: Sequence[Pending], reply: Refused) -> None:
        if len(group) == 1:
            self._settle(group, reply)
            return
        if reply.status == 413:
            # Every batch refused so is longer than the service's limit, so this never falls below half of it.
            self._batch_bytes = max(1, min(self._batch_bytes, sum(len(event.body) for event in group) // 2))
            self._complaints.tell(
                logging.WARNING, "delivery: a batch was too large, now at most %d bytes", self._batch_bytes
            )
        self._groups.extendleft(reversed(divide(group, reply.bad)))

    def _back_off(self, reply: Retry) -> None:
        self._failures += 1
        wait_s = self._pace.backoff_s(self._failures, floor_s=reply.after_s, random=self._random)
        self._wait(wait_s)
        self._tell_success()
        self._success_told_s = None
        self._complaints.tell(logging.WARNING, "delivery: to be tried again in %.1f s: %s", wait_s, reply.reason)
        self._log.delayed(at_ns=self._clock.now_ns(), error=reply.reason)

    def _stop_sending(self, reply: Halted) -> None:
        self._wait(self._pace.halt_s)
        # The words may hold a request's id; only another status or hint is news.
        if self._halt is None or (self._halt.status, self._halt.hint) != (reply.status, reply.hint):
            _LOGGER.error(
                "delivery halted, nothing is lost: %s (HTTP %s): %s", reply.hint, reply.status or "-", reply.detail
            )
        self._halt = reply
        self._more = False
        self._release_all()
        self._tell_success()
        self._success_told_s = None
        self._log.halted(at_ns=self._clock.now_ns(), error=reply.detail, hint=reply.hint)

    def _answers_again(self) -> None:
        self._failures = 0
        if self._halt is not None:
            self._halt = None
            self._more = True
            _LOGGER.info("delivery resumed")

    def _stumble(self, error: Exception) -> float:
        self._failures += 1
        wait_s = self._pace.backoff_s(self._failures, floor_s=None, random=self._random)
        self._complaints.tell(logging.ERROR, "delivery: a step failed, to be repeated in %.1f s", wait_s, error=error)
        return wait_s

    def _tell_success(self) -> None:
        if self._success_ns is not None:
            at_ns, self._success_ns = self._success_ns, None
            self._success_told_s = self._clock.monotonic()
            self._log.succeeded(at_ns=at_ns)

    def _release_all(self) -> None:
        seqs = [event.seq for group in self._groups for event in group]
        if seqs:
            self._outbox.release(seqs)
        self._groups.clear()
