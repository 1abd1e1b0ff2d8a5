"""How much may be sent at a time: one pause and one width for all requests."""

from collections.abc import Callable

from spanmeter.clock import Clock
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.reply import Halted, Retry


class Throttle:
    """What one request learns holds for all. After a failure everybody waits, then one tries; the others follow when
    it is answered. Requests that were under way together and fail together are one failure: the wait does not grow
    with their number. Requests are known by the number of their launch.
    """

    def __init__(self, pace: Pace, *, clock: Clock, random: Callable[[], float]) -> None:
        self._pace = pace
        self._clock = clock
        self._random = random
        self._not_before_s = float("-inf")
        self._failures = 0
        self._learned_at = 0
        self.halt: Halted | None = None

    @property
    def is_trying(self) -> bool:
        """Whether it is not known that the service answers."""
        return self._failures > 0 or self.halt is not None

    @property
    def width(self) -> int:
        """Most requests at a time."""
        return 1 if self.is_trying else self._pace.in_flight

    @property
    def due_in_s(self) -> float:
        """Seconds until the next request may go; 0 or less for now."""
        return self._not_before_s - self._clock.monotonic()

    def pause(self, wait_s: float) -> None:
        """At least so long from now; a longer pause stays."""
        self._not_before_s = max(self._not_before_s, self._clock.monotonic() + wait_s)

    def stumbled(self) -> float:
        """An error of our own: how long to wait."""
        self._failures += 1
        return self._pace.backoff_s(self._failures, floor_s=None, random=self._random)

    def failed(self, number: int, reply: Retry, *, launched: int) -> bool:
        """Whether this failure is news; `launched` is the last launch so far. All wait for what the service asked."""
        if number <= self._learned_at:
            self.pause(reply.after_s or 0.0)
            return False
        self._learned_at = launched
        self._failures += 1
        self.pause(self._pace.backoff_s(self._failures, floor_s=reply.after_s, random=self._random))
        return True

    def halted(self, number: int, reply: Halted, *, launched: int) -> bool:
        """Whether this halt is news, or another vain trial; not so for one that was under way beside the first."""
        if self.halt is not None and number <= self._learned_at:
            return False
        self._learned_at = launched
        self.halt = reply
        self.pause(self._pace.halt_s)
        return True

    def answered(self, number: int) -> bool:
        """The service has judged events. Whether that ends a halt; what was launched before the trouble does not."""
        if number <= self._learned_at:
            return False
        self._failures = 0
        was_halted, self.halt = self.halt is not None, None
        return was_halted
