"""An outbox and a delivery log in memory: for tests, and for a run that leaves nothing behind."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spanmeter.store.outbox import Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was refused, and the service's words."""

    seq: int
    status: int
    reason: str
    at_ns: int


class MemoryOutbox:
    """The specification in `spanmeter.store.outbox.Outbox`, without a disk. `kill` does what a kill of the process
    does to one that has a disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, bytes] = {}
        self._leased: set[int] = set()
        self._next = 1
        self.acked: dict[int, int] = {}
        """seq → at_ns of what was acknowledged."""
        self.dead: dict[int, DeadLetter] = {}

    def put(self, bodies: Iterable[bytes]) -> list[int]:
        """Adds pending events and returns their numbers."""
        with self._lock:
            seqs = []
            for body in bodies:
                self._waiting[self._next] = body
                seqs.append(self._next)
                self._next += 1
            return seqs

    def kill(self) -> None:
        with self._lock:
            self._leased.clear()

    @property
    def leased(self) -> frozenset[int]:
        with self._lock:
            return frozenset(self._leased)

    def lease(self, limit_events: int, limit_bytes: int) -> Sequence[Pending]:
        with self._lock:
            batch: list[Pending] = []
            size = 0
            # Numbers only grow and are never put back, so the order of insertion is the order of age.
            for seq, body in self._waiting.items():
                if seq in self._leased:
                    continue
                if len(batch) >= limit_events or (batch and size + len(body) > limit_bytes):
                    break
                batch.append(Pending(seq=seq, body=body))
                size += len(body)
            self._leased.update(event.seq for event in batch)
            return batch

    def ack(self, seqs: Sequence[int], *, at_ns: int) -> None:
        with self._lock:
            for seq in self._settle(seqs):
                self.acked[seq] = at_ns

    def release(self, seqs: Sequence[int]) -> None:
        with self._lock:
            self._leased.difference_update(seqs)

    def bury(self, seqs: Sequence[int], *, status: int, reason: str, at_ns: int) -> None:
        with self._lock:
            for seq in self._settle(seqs):
                self.dead[seq] = DeadLetter(seq=seq, status=status, reason=reason, at_ns=at_ns)

    def depth(self) -> int:
        with self._lock:
            return len(self._waiting)

    def _settle(self, seqs: Sequence[int]) -> list[int]:
        known = [seq for seq in dict.fromkeys(seqs) if self._waiting.pop(seq, None) is not None]
        self._leased.difference_update(known)
        return known


class MemoryDeliveryLog:
    """Keeps every call in order: ("succeeded",), ("delayed", error), ("halted", error, hint)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def succeeded(self, *, at_ns: int) -> None:
        self.calls.append(("succeeded",))

    def delayed(self, *, at_ns: int, error: str) -> None:
        self.calls.append(("delayed", error))

    def halted(self, *, at_ns: int, error: str, hint: str) -> None:
        self.calls.append(("halted", error, hint))
