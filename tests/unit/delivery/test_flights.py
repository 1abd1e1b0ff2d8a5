"""Several batches in flight: requests end in whatever order, in tests when the test says so."""

import itertools
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.delivery.flights import in_a_thread
from spanmeter.delivery.pace import Pace
from spanmeter.errors import StoreError
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken
from spanmeter.testing.outbox import MemoryOutbox
from tests.unit.delivery.fakes import Bench, ScriptedSender

RETRY = Retry(reason="HTTP 503: busy")
HALTED = Halted(status=401, detail="expired", hint="renew KONNECT_TOKEN")


class Air:
    """Where requests are until they are told to end."""

    def __init__(self) -> None:
        self.flights: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        self.flights.append(work)

    def end(self, number: int = 0) -> None:
        self.flights.pop(number)()

    def end_all(self) -> None:
        while self.flights:
            self.end()


def in_the_air(
    count: int, *, pace: Pace | None = None, outbox: MemoryOutbox | None = None, **sender: object
) -> tuple[Bench, Air, list[bytes]]:
    air = Air()
    bench = Bench(
        sender=ScriptedSender(**sender),  # type: ignore[arg-type]
        pace=pace or Pace(batch_events=2, in_flight=4),
        spawn=air,
        outbox=outbox or MemoryOutbox(),
    )
    return bench, air, bench.put(count)


def test_as_many_as_allowed_oldest_first_no_event_in_two() -> None:
    bench, air, bodies = in_the_air(20)
    bench.courier.step()
    assert len(air.flights) == 4
    assert len(bench.outbox.leased) == 8
    bench.courier.step()
    assert len(air.flights) == 4
    air.end(2)
    bench.courier.step()
    assert sorted(bench.outbox.acked) == [5, 6]
    assert len(air.flights) == 4
    while bench.outbox.depth():
        air.end()
        bench.courier.step()
    assert sorted(itertools.chain(*bench.sender.sent)) == sorted(bodies)
    starts = [bodies.index(batch[0]) for batch in bench.sender.sent]
    assert all(start + 2 * 4 >= latest for start, latest in zip(starts, itertools.accumulate(starts, max), strict=True))


class CountingOutbox(MemoryOutbox):
    """Counts its writes, and fails as many of them as it is told to."""

    writes = 0
    failures = 0

    def ack(self, seqs: Sequence[int], *, at_ns: int) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("disk full")
        self.writes += 1
        super().ack(seqs, at_ns=at_ns)


def test_what_was_taken_meanwhile_is_acknowledged_in_one_write() -> None:
    outbox = CountingOutbox()
    bench, air, _ = in_the_air(8, outbox=outbox)
    bench.courier.step()
    air.end_all()
    bench.courier.step()
    assert sorted(outbox.acked) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert outbox.writes == 1


def test_a_write_that_fails_is_repeated_and_nothing_is_sent_twice() -> None:
    outbox = CountingOutbox()
    bench, air, _ = in_the_air(12, outbox=outbox)
    bench.courier.step()
    air.end_all()
    outbox.failures = 2
    for _ in range(2):
        with pytest.raises(StoreError):
            bench.courier.step()
        assert not air.flights
    bench.courier.step()
    air.end_all()
    bench.courier.step()
    assert sorted(outbox.acked) == list(range(1, 13))
    assert len(bench.sender.sent) == 6


def test_failing_together_is_one_failure_and_then_one_tries() -> None:
    bench, air, _ = in_the_air(20, rule=lambda _: RETRY)
    bench.courier.step()
    waits = []
    for _ in range(5):
        air.end_all()
        waits.append(bench.courier.step())
        assert not air.flights
        bench.clock.advance(waits[-1])
        bench.courier.step()
        assert len(air.flights) == 1
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0])
    assert len([call for call in bench.log.calls if call[0] == "delayed"]) == 5
    bench.sender.rule = lambda _: Taken()
    air.end_all()
    bench.courier.step()
    assert len(air.flights) > 1


def test_retry_after_of_one_is_the_floor_of_all() -> None:
    bench, air, _ = in_the_air(20, script=[Taken(), Retry(reason="HTTP 429", after_s=30.0), Taken(), RETRY])
    bench.courier.step()
    air.end_all()
    assert bench.courier.step() >= 30.0
    assert not air.flights
    bench.clock.advance(29.9)
    bench.courier.step()
    assert not air.flights


def test_a_longer_retry_after_that_comes_later_counts() -> None:
    bench, air, _ = in_the_air(20, script=[RETRY, Retry(reason="HTTP 429", after_s=30.0)])
    bench.courier.step()
    air.end_all()
    assert bench.courier.step() >= 30.0


def test_one_401_halts_all_and_what_was_taken_beside_it_counts() -> None:
    bench, air, _ = in_the_air(20, script=[Taken(), HALTED, RETRY, Taken()])
    bench.courier.step()
    air.end()
    bench.courier.step()  # another one starts
    for _ in range(3):
        air.end()  # 401, retry, taken
        bench.courier.step()
    assert len(air.flights) == 1
    air.end()
    wait_s = bench.courier.step()
    assert not air.flights
    assert wait_s == pytest.approx(60.0)
    assert sorted(bench.outbox.acked) == [1, 2, 7, 8, 9, 10]
    assert not bench.outbox.leased
    assert bench.log.calls[-1] == ("halted", "expired", "renew KONNECT_TOKEN")
    bench.clock.advance(60.0)
    bench.courier.step()
    assert [len(batch) for batch in bench.sender.sent[5:]] == []  # under way
    assert len(bench.outbox.leased) == 1
    air.end_all()
    bench.courier.step()
    assert len(air.flights) == 4


def test_several_401s_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bench, air, _ = in_the_air(20, rule=lambda _: HALTED)
    bench.courier.step()
    air.end_all()
    bench.courier.step()
    assert caplog.text.count("delivery halted") == 1
    assert [call[0] for call in bench.log.calls] == ["halted"]
    assert not bench.outbox.leased


def test_an_event_that_the_service_stumbles_over_holds_up_no_other() -> None:
    def rule(bodies: Sequence[bytes]) -> Reply:
        return Retry(reason="HTTP 500") if b"3" in bodies else Taken()

    bench = Bench(sender=ScriptedSender(rule=rule), pace=Pace(batch_events=10, in_flight=4))
    bodies = bench.put(10)
    made_s: dict[bytes, float] = {}
    waited_s: dict[bytes, float] = {}
    for second in range(900):
        new = b"new %d" % second
        bench.outbox.put([new])
        made_s[new] = bench.clock.monotonic()
        while bench.clock.monotonic() < made_s[new] + 1.0:
            known = len(bench.sender.taken)
            wait_s = bench.courier.step()
            waited_s |= {b: bench.clock.monotonic() - made_s[b] for b in bench.sender.taken[known:] if b in made_s}
            bench.clock.advance(min(max(0.001, wait_s), made_s[new] + 1.0 - bench.clock.monotonic()))
    assert {*bodies} - {*bench.sender.taken} == {b"3"}
    assert not bench.outbox.dead
    assert len(waited_s) > 890
    assert max(waited_s.values()) < 5.0
    tries = sum(b"3" in batch for batch in bench.sender.sent)
    assert tries < 60


def test_drain_waits_for_what_is_under_way_and_no_longer_than_told() -> None:
    ended = threading.Event()
    bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=1, in_flight=2), spawn=in_a_thread)

    def rule(bodies: Sequence[bytes]) -> Reply:
        assert ended.wait(10.0)
        return Taken()

    bench.sender.rule = rule
    bench.put(2)
    bench.courier.step()
    assert len(bench.outbox.leased) == 2
    assert bench.courier.drain(0.0) == 2
    assert not bench.outbox.leased
    ended.set()
    assert bench.courier.drain(5.0) == 0
    assert sorted(bench.outbox.acked) == [1, 2]


def test_a_refusal_of_a_batch_that_was_given_back_is_left_to_its_next_owner() -> None:
    bench, air, _ = in_the_air(2, script=[Refused(status=400, detail="no")])
    bench.courier.step()
    assert bench.courier.drain(0.0) == 2
    air.end_all()
    bench.courier.step()
    assert not bench.outbox.dead
    assert bench.outbox.leased == {1, 2}


def test_without_threads_requests_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", no_start)
    bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=1, in_flight=4), spawn=in_a_thread)
    bench.put(6)
    assert bench.courier.drain(5.0) == 0


@given(data=st.data(), count=st.integers(1, 40), in_flight=st.integers(1, 5))
def test_in_whatever_order_they_end_exactly_the_guilty_are_buried(
    data: st.DataObject, count: int, in_flight: int
) -> None:
    poisoned = data.draw(st.sets(st.integers(0, count - 1), max_size=5).map(lambda s: {b"%d" % index for index in s}))
    troubles: list[Reply] = [RETRY, HALTED, Taken()]
    trouble = data.draw(st.lists(st.sampled_from(troubles), max_size=12))

    def rule(bodies: Sequence[bytes]) -> Reply:
        if trouble and (reply := trouble.pop()) != Taken():
            return reply
        return Refused(status=400, detail="poisoned") if poisoned & {*bodies} else Taken()

    air = Air()
    bench = Bench(sender=ScriptedSender(rule=rule), pace=Pace(batch_events=5, in_flight=in_flight), spawn=air)
    bodies = bench.put(count)
    for _ in range(5_000):
        if not bench.outbox.depth():
            break
        bench.clock.advance(bench.courier.step())
        assert len(air.flights) <= in_flight
        if air.flights:
            air.end(data.draw(st.integers(0, len(air.flights) - 1)))
    assert sorted(bench.sender.taken) == sorted(set(bodies) - poisoned)
    assert {b"%d" % (seq - 1) for seq in bench.outbox.dead} == poisoned
