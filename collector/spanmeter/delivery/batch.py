"""Leased events that go, wait and are divided together."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spanmeter.delivery.split import divide
from spanmeter.store.outbox import Pending


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """`outdone` counts how often it was to be tried again while another batch was taken: then the batch may be to
    blame, not the service. `taken_before` is how many had been taken when it was last looked at, `not_before_s` when
    its turn comes. `released`: its leases were given back while it was under way."""

    events: Sequence[Pending]
    taken_before: int
    outdone: int = 0
    not_before_s: float = float("-inf")
    released: bool = False

    @property
    def seqs(self) -> tuple[int, ...]:
        return tuple(event.seq for event in self.events)

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum(len(event.body) for event in self.events)

    def parts(self, bad: Sequence[int]) -> list["Batch"]:
        """Divided, see `divide`. What was held against it is held against its parts."""
        return [
            Batch(events=some, taken_before=self.taken_before, outdone=self.outdone)
            for some in divide(self.events, bad)
        ]


class WaitingBatches:
    """Batches that are leased and not under way, in the order in which they are to go."""

    def __init__(self) -> None:
        self._line: deque[Batch] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def put_first(self, parts: Iterable[Batch]) -> None:
        self._line.extendleft(reversed([*parts]))

    def put_last(self, parts: Iterable[Batch]) -> None:
        self._line.extend(parts)

    def take_due(self, now_s: float) -> Batch | None:
        """The first whose turn has come."""
        due = next((batch for batch in self._line if batch.not_before_s <= now_s), None)
        if due is not None:
            self._line.remove(due)
        return due

    def take_next(self) -> Batch | None:
        """The one whose turn comes soonest, though it has not come."""
        soonest = min(self._line, key=lambda batch: batch.not_before_s, default=None)
        if soonest is not None:
            self._line.remove(soonest)
        return soonest

    @property
    def due_s(self) -> float:
        """When the next turn comes."""
        return min((batch.not_before_s for batch in self._line), default=float("inf"))

    @property
    def batches(self) -> Sequence[Batch]:
        return list(self._line)

    def clear(self) -> None:
        self._line.clear()
