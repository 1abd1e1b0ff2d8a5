"""A book and a listing in memory, for the settler between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spanmeter.openmeter.listing import Listed, Page, StoredEvent
from spanmeter.store.settlement import Reading, Sought


@dataclass(kw_only=True)
class MemoryBook:
    """Events by id; `sent` says when, `resent` how often again."""

    sent: dict[str, int] = field(default_factory=dict)
    resent: dict[str, int] = field(default_factory=dict)
    outbox: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    settled: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    read_ns: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def oldest_unread_ns(self, *, since_ns: int, until_ns: int) -> int | None:
        return min(
            (at for name, at in self.sent.items() if since_ns <= at <= until_ns and name not in self.absent),
            default=None,
        )

    def settle(self, readings: Iterable[Reading], *, at_ns: int) -> int:
        news = 0
        for reading in readings:
            if self.sent.pop(reading.id, None) is not None or self.settled.get(reading.id):
                news += 1
                self.settled[reading.id] = reading.errors
                self.read_ns[reading.id] = at_ns
                self.absent = [name for name in self.absent if name != reading.id]
        return news

    def overdue(self, *, now_ns: int, grace_ns: int, since_ns: int, limit: int) -> Sequence[Sought]:
        return [
            Sought(seq=int(name), id=name, sent_ns=at, resent=self.resent.get(name, 0))
            for name, at in sorted(self.sent.items(), key=lambda item: item[1])
            if since_ns <= at <= now_ns - grace_ns * 2 ** self.resent.get(name, 0) and name not in self.absent
        ][:limit]

    def complained_of(self, *, read_before_ns: int, limit: int) -> Sequence[Sought]:
        return [
            Sought(seq=int(name), id=name, sent_ns=0)
            for name, errors in self.settled.items()
            if errors and self.read_ns[name] < read_before_ns
        ][:limit]

    def resend(self, seqs: Sequence[int], *, at_ns: int) -> None:
        for seq in seqs:
            del self.sent[str(seq)]
            self.outbox.append(str(seq))
            self.resent[str(seq)] = self.resent.get(str(seq), 0) + 1

    def give_up(self, seqs: Sequence[int], *, at_ns: int) -> None:
        self.absent += map(str, seqs)

    def seen(self, seqs: Sequence[int], *, at_ns: int) -> None:
        self.read_ns |= {str(seq): at_ns for seq in seqs}

    def tell(self, *, state: str, notice: str) -> None:
        self.told.append((state, notice))


@dataclass(kw_only=True)
class MemoryListing:
    """What the service holds, in the order in which it came, two events a page; `script` answers first."""

    held: list[StoredEvent] = field(default_factory=list)
    script: list[Listed] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def hold(self, *names: str, at_ns: int, errors: tuple[tuple[str, str], ...] = ()) -> None:
        self.held += [StoredEvent(source="spanmeter", id=name, ingested_ns=at_ns, errors=errors) for name in names]

    def since(self, from_ns: int, *, cursor: str = "") -> Listed:
        self.asked.append(f"since {cursor}".strip())
        if self.script:
            return self.script.pop(0)
        found = [event for event in self.held if event.ingested_ns >= from_ns]
        start = int(cursor or 0)
        return Page(events=tuple(found[start : start + 2]), next=str(start + 2) if start + 2 < len(found) else "")

    def with_ids(self, ids: Sequence[str]) -> Listed:
        self.asked.append(",".join(ids))
        if self.script:
            return self.script.pop(0)
        return Page(events=tuple(event for event in self.held if event.id in ids))

    def fitting(self, ids: Sequence[str]) -> int:
        return min(3, len(ids))
