"""What the service said, until it is on disk."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from spanmeter.clock import Clock
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.throttle import Throttle
from spanmeter.logs import Complaints
from spanmeter.openmeter.reply import Halted, Refused, Retry
from spanmeter.store.outbox import DeliveryLog, Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the service said of events, until the outbox has it on disk. `refusal` is None for taken ones."""

    seqs: tuple[int, ...]
    refusal: Refused | None
    at_ns: int


class Record:
    """Verdicts for the outbox, and how delivery stands for the log. `write` and `tell_…` raise what those raise; what
    was not written then is written by the next call. Nothing but dead letters for a while blows the fuse: all pause.
    """

    def __init__(
        self,
        outbox: Outbox,
        log: DeliveryLog,
        *,
        clock: Clock,
        pace: Pace,
        throttle: Throttle,
        complaints: Complaints,
    ) -> None:
        self._outbox = outbox
        self._log = log
        self._clock = clock
        self._pace = pace
        self._throttle = throttle
        self._complaints = complaints
        self._unwritten: list[_Verdict] = []
        self._untold: Retry | Halted | None = None
        self._buried_in_a_row = 0
        self._success_ns: int | None = None
        self._success_told_s: float | None = None

    def taken(self, seqs: tuple[int, ...]) -> None:
        self._unwritten.append(_Verdict(seqs=seqs, refusal=None, at_ns=self._clock.now_ns()))

    def refused(self, seqs: tuple[int, ...], refusal: Refused) -> None:
        self._unwritten.append(_Verdict(seqs=seqs, refusal=refusal, at_ns=self._clock.now_ns()))

    def trouble(self, reply: Retry | Halted) -> None:
        self._untold = reply

    def write(self) -> None:
        """What was taken goes to disk in one write, however many batches; what was refused, one by one."""
        while self._unwritten:
            taken: list[_Verdict] = []
            for verdict in self._unwritten:
                if verdict.refusal is not None:
                    break
                taken.append(verdict)
            if taken:
                self._outbox.ack([seq for verdict in taken for seq in verdict.seqs], at_ns=taken[-1].at_ns)
                del self._unwritten[: len(taken)]
                self._buried_in_a_row = 0
                self._success_ns = taken[-1].at_ns
                if self._success_told_s is None or self._clock.monotonic() - self._success_told_s >= 1.0:
                    self.tell_success()
            else:
                verdict = self._unwritten[0]
                assert verdict.refusal is not None
                self._bury(verdict.seqs, verdict.refusal, at_ns=verdict.at_ns)
                del self._unwritten[0]

    def _bury(self, seqs: Sequence[int], refusal: Refused, *, at_ns: int) -> None:
        status, reason = refusal.status, refusal.detail
        self._outbox.bury(seqs, status=status, reason=reason, at_ns=at_ns)
        self._complaints.tell(
            logging.ERROR, "delivery: an event was refused and is a dead letter: HTTP %d: %s", status, reason
        )
        self._buried_in_a_row += 1
        if self._buried_in_a_row >= self._pace.fuse_events:
            self._buried_in_a_row = 0
            self._throttle.pause(self._pace.halt_s)
            self._complaints.tell(
                logging.ERROR, "delivery: nothing but refusals, resting for %.0f s: HTTP %d", self._pace.halt_s, status
            )

    def tell_trouble(self) -> None:
        match self._untold:
            case None:
                return
            case Retry() as reply:
                self.tell_success()
                self._complaints.tell(
                    logging.WARNING,
                    "delivery: to be tried again in %.1f s: %s",
                    max(0.0, self._throttle.due_in_s),
                    reply.reason,
                )
                self._log.delayed(at_ns=self._clock.now_ns(), error=reply.reason)
            case Halted() as reply:
                self.tell_success()
                self._log.halted(at_ns=self._clock.now_ns(), error=reply.detail, hint=reply.hint)
        self._untold = None
        self._success_told_s = None

    def tell_success(self) -> None:
        """Not once trouble was told, until that is over: who was under way beside it says nothing new."""
        if self._success_ns is not None and (self._untold or not self._throttle.is_trying):
            at_ns, self._success_ns = self._success_ns, None
            self._success_told_s = self._clock.monotonic()
            self._log.succeeded(at_ns=at_ns)
