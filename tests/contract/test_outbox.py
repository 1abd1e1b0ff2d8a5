"""Outbox's docstring, line by line, on every implementation."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from spanmeter.store.outbox import Pending
from tests.contract.outboxes import RIGS, Rig

AT_NS = 1_767_225_600_123_456_789
MANY = 1_000_000


@pytest.fixture(params=RIGS, ids=lambda factory: factory.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    factory: Callable[[Path], Rig] = request.param
    rig = factory(tmp_path)
    yield rig
    rig.close()


def seqs(events: Sequence[Pending]) -> list[int]:
    return [event.seq for event in events]


def test_an_empty_outbox(rig: Rig) -> None:
    assert list(rig.outbox.lease(10, MANY)) == []
    assert rig.outbox.depth() == 0


def test_oldest_first_bytes_unchanged_never_twice(rig: Rig) -> None:
    bodies = [b'{"n":%d,"s":"\xc3\xa9"}' % number for number in range(5)]
    put = rig.put(bodies)
    first = rig.outbox.lease(3, MANY)
    second = rig.outbox.lease(3, MANY)
    assert [event.body for event in [*first, *second]] == bodies
    assert seqs([*first, *second]) == list(put) == sorted(put)
    assert list(rig.outbox.lease(3, MANY)) == []
    assert rig.outbox.depth() == 5


@pytest.mark.parametrize(
    ("limit_bytes", "lengths"), [(1, [10]), (10, [10]), (19, [10]), (20, [10, 10]), (59, [10, 10]), (60, [10, 10, 40])]
)
def test_bytes_bound_a_lease(rig: Rig, limit_bytes: int, lengths: list[int]) -> None:
    rig.put([b"a" * 10, b"b" * 10, b"c" * 40, b"d"])
    assert [len(event.body) for event in rig.outbox.lease(10, limit_bytes)] == lengths


def test_the_oldest_goes_even_when_too_long(rig: Rig) -> None:
    rig.put([b"x" * 100, b"y"])
    assert [len(event.body) for event in rig.outbox.lease(10, 5)] == [100]
    assert [len(event.body) for event in rig.outbox.lease(10, 5)] == [1]


def test_acknowledged_is_final(rig: Rig) -> None:
    put = rig.put([b"a", b"b"])
    rig.outbox.lease(2, MANY)
    rig.outbox.ack(put[:1], at_ns=AT_NS)
    rig.outbox.ack(put[:1], at_ns=AT_NS + 1)
    rig.outbox.release(put)
    rig.outbox.bury(put[:1], status=400, reason="no", at_ns=AT_NS)
    assert seqs(rig.outbox.lease(10, MANY)) == [put[1]]
    assert rig.acked() == {put[0]: AT_NS}
    assert rig.dead() == {}
    assert rig.outbox.depth() == 1


def test_a_dead_letter_is_final_and_keeps_the_words(rig: Rig) -> None:
    put = rig.put([b"a", b"b"])
    rig.outbox.lease(2, MANY)
    rig.outbox.bury(put[:1], status=400, reason="0.subject: too short ‘é’", at_ns=AT_NS)
    rig.outbox.bury(put[:1], status=413, reason="other", at_ns=AT_NS + 1)
    rig.outbox.ack(put[:1], at_ns=AT_NS)
    rig.outbox.release(put)
    assert seqs(rig.outbox.lease(10, MANY)) == [put[1]]
    assert rig.dead() == {put[0]: (400, "0.subject: too short ‘é’", AT_NS)}
    assert rig.acked() == {}
    assert rig.outbox.depth() == 1


def test_released_events_return_to_their_places(rig: Rig) -> None:
    put = rig.put([b"a", b"b", b"c", b"d"])
    rig.outbox.lease(3, MANY)
    rig.outbox.release([put[2], put[0]])
    assert seqs(rig.outbox.lease(10, MANY)) == [put[0], put[2], put[3]]


def test_a_kill_gives_back_leases_and_keeps_verdicts(rig: Rig) -> None:
    put = rig.put([b"a", b"b", b"c", b"d"])
    rig.outbox.lease(3, MANY)
    rig.outbox.ack([put[0]], at_ns=AT_NS)
    rig.outbox.bury([put[1]], status=400, reason="no", at_ns=AT_NS)
    rig.kill()
    assert rig.outbox.depth() == 2
    assert [(event.seq, event.body) for event in rig.outbox.lease(10, MANY)] == [(put[2], b"c"), (put[3], b"d")]
    assert rig.acked() == {put[0]: AT_NS}
    assert rig.dead() == {put[1]: (400, "no", AT_NS)}


def test_a_verdict_holds_though_the_lease_was_lost(rig: Rig) -> None:
    put = rig.put([b"a", b"b"])
    rig.outbox.lease(2, MANY)
    rig.kill()
    rig.outbox.ack([put[0]], at_ns=AT_NS)
    rig.outbox.bury([put[1]], status=400, reason="no", at_ns=AT_NS)
    assert list(rig.outbox.lease(10, MANY)) == []
    assert rig.outbox.depth() == 0


def test_unknown_numbers_and_none_at_all_are_ignored(rig: Rig) -> None:
    put = rig.put([b"a"])
    for numbers in ([], [put[0] + 1000]):
        rig.outbox.ack(numbers, at_ns=AT_NS)
        rig.outbox.bury(numbers, status=400, reason="no", at_ns=AT_NS)
        rig.outbox.release(numbers)
    rig.outbox.release(put)
    assert rig.outbox.depth() == 1
    assert seqs(rig.outbox.lease(1, MANY)) == list(put)


def test_more_numbers_than_a_statement_has_places_for(rig: Rig) -> None:
    put = rig.put([b"x"] * 3000)
    assert seqs(rig.outbox.lease(5000, MANY)) == list(put)
    rig.outbox.release(put)
    rig.outbox.bury(put[:1], status=400, reason="no", at_ns=AT_NS)
    rig.outbox.ack(put, at_ns=AT_NS)
    assert rig.outbox.depth() == 0
    assert len(rig.acked()) == 2999


def test_threads_share_and_never_get_the_same(rig: Rig) -> None:
    put = rig.put([b"x"] * 400)
    got: list[int] = []

    def work() -> None:
        while events := rig.outbox.lease(7, MANY):
            rig.outbox.ack(seqs(events), at_ns=AT_NS)
            got.extend(seqs(events))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(put)
