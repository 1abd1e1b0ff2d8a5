"""When a batch goes, and how long to wait after a failure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A batch goes when `batch_events` wait, or when the oldest has waited `interval_s`; it is never longer than
    `batch_bytes`, a single longer event excepted.

    While halted, one event is tried every `halt_s`. After `fuse_events` dead letters in a row with nothing taken
    between them the events are hardly to blame: delivery rests `halt_s`, so that a service that refuses everything
    does not bury everything before a person looks.

    At most `in_flight` batches are under way at once, and one more waits. A batch that had to be tried again
    `outdone_limit` times while others were taken is divided: one event that the service stumbles over must hold up
    neither the others nor, for long, its company. Twenty times what can be under way is leased at most: that bounds
    memory.
    """

    batch_events: int = 100
    batch_bytes: int = 1_000_000
    in_flight: int = 1
    interval_s: float = 1.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 60.0
    halt_s: float = 60.0
    fuse_events: int = 100
    outdone_limit: int = 5

    @property
    def look_again_s(self) -> float:
        """How often an empty outbox is looked at: half an interval, 50 ms to 1 s."""
        return min(max(self.interval_s / 2, 0.05), 1.0)

    @property
    def most_held(self) -> int:
        """Events."""
        return 20 * self.in_flight * self.batch_events

    def backoff_s(self, attempt: int, *, floor_s: float | None, random: Callable[[], float]) -> float:
        """Seconds to wait after the `attempt`-th failure in a row (1, 2, …):

            floor_s + random() · min(backoff_cap_s, backoff_base_s · 2^(attempt - 1))

        Full jitter under a cap. `floor_s` is the service's Retry-After: nobody comes before it, and not all at once
        after it. `random` draws from [0, 1).
        """
        # 2^32 half seconds are beyond every cap; the bound keeps the power from growing without end.
        ceiling_s = min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(attempt - 1, 32))
        return (floor_s or 0.0) + random() * ceiling_s
