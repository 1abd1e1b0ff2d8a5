"""Events that go to the service once more, or never: dead letters and replays. Their ids and bodies never change."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spanmeter.store.database import Database

PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused event with the service's HTTP status and words. `discarded_ns` and `why` are a person's decision to
    give it up, 0 and empty while there is none."""

    seq: int
    id: str
    source: str
    subject: str
    time_ns: int
    body: bytes
    buried_ns: int
    status: int
    refusal: str
    discarded_ns: int = 0
    why: str = ""


class Whereabouts(StrEnum):
    """Where an event is. `WAITING`: in the outbox. `REFUSED`: a dead letter, also one that was given up. `FORGOTTEN`:
    it was made so long ago that its body is no longer kept, and cannot be sent again."""

    SENT = "sent"
    SETTLED = "settled"
    LOCAL = "local"
    WAITING = "waiting"
    REFUSED = "refused"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """An event of the past. `sent_ns` is when the service took it last, 0 where that is not known or never was."""

    seq: int
    time_ns: int
    where: Whereabouts
    sent_ns: int


class SqliteRedelivery:
    """Moves events between the tables that say where they are. Safe beside a running collector: an event that is not
    where it was expected stays where it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Those that wait for a person, in the order in which their events were made."""
        return map(_letter, self._pages("dead_letter_page"))

    def discarded(self) -> Iterator[DeadLetter]:
        """Those that were given up."""
        return map(_letter, self._pages("discarded_page"))

    def retry(self, seqs: Sequence[int]) -> int:
        """Dead letters back into the outbox; how many. Durable on return."""
        moved = 0
        for some in _slices(seqs):
            with self._database.transaction() as transaction:
                moved += transaction.execute_many("outbox_from_dead_letter", [(seq,) for seq in some])
                transaction.execute_many("dead_letter_delete", [(seq,) for seq in some])
        return moved

    def discard(self, seqs: Sequence[int], *, why: str, at_ns: int) -> int:
        """Give dead letters up; how many. Durable on return."""
        moved = 0
        for some in _slices(seqs):
            with self._database.transaction() as transaction:
                moved += transaction.execute_many("discarded_insert", [(at_ns, why, seq) for seq in some])
                transaction.execute_many("dead_letter_delete", [(seq,) for seq in some])
        return moved

    def past(self, *, from_ns: int, to_ns: int, subject: str = "") -> Iterator[list[Past]]:
        """Events whose call ended in this time, by that time, some hundreds in a list."""
        after = (from_ns - 1, 2**63 - 1)
        while rows := self._database.execute(
            "replay_page", after_ns=after[0], after_seq=after[1], to_ns=to_ns, subject=subject, limit=PAGE
        ):
            yield [
                Past(seq=seq, time_ns=time_ns, where=Whereabouts(where), sent_ns=sent_ns)
                for seq, time_ns, where, sent_ns in rows
            ]
            after = (rows[-1][1], rows[-1][0])

    def count_past(self, *, from_ns: int, to_ns: int, subject: str = "") -> int:
        count: int = self._database.execute("replay_count", from_ns=from_ns, to_ns=to_ns, subject=subject)[0][0]
        return count

    def put_back(self, seqs: Collection[int]) -> int:
        """Events that were sent, settled or local only back into the outbox; how many. Durable on return."""
        rows: list[tuple[object, ...]] = [(seq,) for seq in seqs]
        moved = 0
        with self._database.transaction() as transaction:
            for table in ("sent", "settled", "local"):
                moved += transaction.execute_many(f"outbox_from_{table}", rows)
                transaction.execute_many(f"{table}_left", rows)
            transaction.execute_many("missing_left", rows)
        return moved

    def _pages(self, query: str) -> Iterator[Sequence[Any]]:
        after = 0
        while rows := self._database.execute(query, after, PAGE):
            yield from rows
            after = rows[-1][0]


def _letter(row: Sequence[Any]) -> DeadLetter:
    names = (
        "seq",
        "id",
        "source",
        "subject",
        "time_ns",
        "body",
        "buried_ns",
        "status",
        "refusal",
        "discarded_ns",
        "why",
    )
    return DeadLetter(**dict(zip(names, row, strict=False)))  # a letter that waits has no decision


def _slices(seqs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Short transactions: others write between them."""
    for start in range(0, len(seqs), PAGE):
        yield seqs[start : start + PAGE]
