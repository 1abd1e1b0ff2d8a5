"""Replay over an archive in memory."""

from collections.abc import Collection, Iterator

import pytest

from spanmeter.delivery.replay import SAFE_AGE_H, Replay, ReplayRange
from spanmeter.errors import UsageError
from spanmeter.store.redelivery import Past, Whereabouts
from spanmeter.testing.clock import ManualClock

EVER = ReplayRange(from_ns=0, to_ns=2**63 - 1)
HOUR_NS = 3600 * 1_000_000_000


class MemoryArchive:
    """Hands out its events two at a time; `stolen` are no longer where they were when they are to be moved."""

    def __init__(self, *events: Past, stolen: Collection[int] = ()) -> None:
        self.events = events
        self.stolen = stolen
        self.moved: list[int] = []

    def past(self, *, from_ns: int, to_ns: int, subject: str = "") -> Iterator[list[Past]]:
        for start in range(0, len(self.events), 2):
            yield list(self.events[start : start + 2])

    def count_past(self, *, from_ns: int, to_ns: int, subject: str = "") -> int:
        return len(self.events)

    def put_back(self, seqs: Collection[int]) -> int:
        moved = [seq for seq in seqs if seq not in self.stolen]
        self.moved += moved
        return len(moved)


def past(seq: int, where: Whereabouts, *, hours_ago: float = 0.0) -> Past:
    sent_ns = ManualClock().now_ns() - round(hours_ago * HOUR_NS) if where is not Whereabouts.LOCAL else 0
    return Past(seq=seq, time_ns=seq, where=where, sent_ns=sent_ns)


def test_only_what_was_sent_settled_or_local_goes_back() -> None:
    archive = MemoryArchive(*(past(seq, where) for seq, where in enumerate(Whereabouts)))
    result = Replay(archive, clock=ManualClock()).run(EVER)
    assert archive.moved == [0, 1, 2]
    assert result.left == {Whereabouts.WAITING: 1, Whereabouts.REFUSED: 1, Whereabouts.FORGOTTEN: 1}


@pytest.mark.parametrize(("hours_ago", "refused"), [(0, False), (SAFE_AGE_H, False), (SAFE_AGE_H + 0.01, True)])
@pytest.mark.parametrize("where", [Whereabouts.SENT, Whereabouts.SETTLED])
def test_the_safe_age(hours_ago: float, refused: bool, where: Whereabouts) -> None:
    archive = MemoryArchive(past(1, Whereabouts.SENT), past(2, Whereabouts.SENT), past(3, where, hours_ago=hours_ago))
    if refused:
        with pytest.raises(UsageError):
            Replay(archive, clock=ManualClock()).run(EVER)
        assert archive.moved == []
    else:
        assert Replay(archive, clock=ManualClock()).run(EVER).put_back.total() == 3


def test_what_moved_meanwhile_is_told() -> None:
    archive = MemoryArchive(past(1, Whereabouts.SENT), past(2, Whereabouts.SENT), stolen=[2])
    result = Replay(archive, clock=ManualClock()).run(EVER)
    assert (result.put_back, result.left) == ({Whereabouts.SENT: 1}, {Whereabouts.SENT: 1})
