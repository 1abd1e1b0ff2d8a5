import logging
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.delivery.pace import Pace
from spanmeter.errors import StoreError
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken
from spanmeter.testing.outbox import MemoryOutbox
from tests.unit.delivery.fakes import Bench, ScriptedSender

RETRY = Retry(reason="HTTP 503: busy")
REFUSED = Refused(status=400, detail="subject is missing")
HALTED = Halted(status=401, detail="expired", hint="renew KONNECT_TOKEN")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


class TestBatches:
    def test_a_full_batch_goes_at_once(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=3))
        bodies = bench.put(7)
        assert [bench.courier.step() for _ in range(3)][:2] == [0.0, 0.0]
        assert bench.sender.sent == [bodies[:3], bodies[3:6], bodies[6:]]
        assert sorted(bench.outbox.acked) == [1, 2, 3, 4, 5, 6, 7]

    def test_a_few_wait_for_company(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=3, interval_s=1.0))
        bench.put(2)
        start_s = bench.clock.monotonic()
        bench.until_empty()
        assert bench.clock.monotonic() - start_s == pytest.approx(1.0)
        assert len(bench.sender.sent) == 1

    def test_bytes_bound_a_batch_and_do_not_slow_it(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(batch_bytes=10))
        bench.outbox.put([b"x" * 6, b"y" * 6, b"z" * 30, b"w" * 4])
        bench.waits(1)
        start_s = bench.clock.monotonic()
        bench.waits(2)
        assert bench.clock.monotonic() == start_s
        assert [[len(body) for body in batch] for batch in bench.sender.sent] == [[6], [6], [30]]

    def test_nothing_waits_nothing_is_sent(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(interval_s=1.0))
        assert bench.courier.step() == 0.5
        assert bench.sender.sent == []


class TestRetry:
    def test_without_end_with_bounded_growing_waits(self) -> None:
        bench = Bench(sender=ScriptedSender(rule=lambda bodies: RETRY))
        bodies = bench.put(2)
        waits = bench.waits(500)
        assert waits[:9] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60])
        assert max(waits) == pytest.approx(60.0)
        bench.sender.rule = lambda bodies: Taken()
        bench.until_empty()
        assert set(map(tuple, bench.sender.sent)) == {tuple(bodies)}
        assert sorted(bench.outbox.acked) == [1, 2]

    def test_a_success_forgets_the_failures(self) -> None:
        bench = Bench(sender=ScriptedSender([RETRY, RETRY, Taken(), RETRY]))
        bench.put(1)
        bench.waits(3)
        bench.put(1)
        assert bench.waits(1) == [0.5]

    def test_retry_after_is_the_floor(self) -> None:
        bench = Bench(sender=ScriptedSender([Retry(reason="HTTP 429", after_s=30.0)]), random=lambda: 0.0)
        bench.put(1)
        assert bench.waits(1) == [30.0]
        bench.clock.advance(29.9)
        assert bench.courier.step() == pytest.approx(0.1)
        assert len(bench.sender.sent) == 1

    def test_new_events_do_not_shorten_the_wait(self) -> None:
        bench = Bench(sender=ScriptedSender([RETRY]), pace=Pace(batch_events=1))
        bench.put(1)
        bench.waits(1)
        bench.put(5)
        assert bench.courier.step() == pytest.approx(0.5)
        assert len(bench.sender.sent) == 1


class TestRefused:
    @given(count=st.integers(1, 64), data=st.data(), named=st.booleans(), busy=st.booleans())
    def test_exactly_the_guilty_are_buried(self, count: int, data: st.DataObject, named: bool, busy: bool) -> None:
        poisoned = data.draw(st.sets(st.integers(0, count - 1)).map(lambda s: {b"%d" % index for index in s}))
        # A service may name too few, or the wrong ones: naming is a hint, never a verdict.
        wrong = data.draw(st.sets(st.integers(0, 70), max_size=3))

        def rule(bodies: Sequence[bytes]) -> Reply:
            bad = {index for index, body in enumerate(bodies) if body in poisoned}
            if not bad:
                return Taken()
            return Refused(status=400, detail="poisoned", bad=tuple(sorted(bad | wrong)) if named else ())

        bench = Bench(sender=ScriptedSender([RETRY, RETRY] if busy else [], rule=rule))
        bodies = bench.put(count)
        bench.until_empty()
        assert sorted(bench.sender.taken) == sorted(set(bodies) - poisoned)
        assert {b"%d" % (seq - 1) for seq in bench.outbox.dead} == poisoned
        assert {letter.reason for letter in bench.outbox.dead.values()} <= {"poisoned"}

    def test_a_dead_letter_has_the_words(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(sender=ScriptedSender([REFUSED]))
        bench.put(1)
        bench.until_empty()
        letter = bench.outbox.dead[1]
        assert (letter.status, letter.reason) == (400, "subject is missing")
        assert errors(caplog) == ["delivery: an event was refused and is a dead letter: HTTP 400: subject is missing"]

    def test_the_named_are_tried_alone(self) -> None:
        bench = Bench(sender=ScriptedSender([Refused(status=400, detail="", bad=(1,)), Taken(), REFUSED]))
        a, b, c = bench.put(3)
        bench.until_empty()
        assert bench.sender.sent == [[a, b, c], [a, c], [b]]

    def test_too_large_lowers_the_limit(self) -> None:
        def rule(bodies: Sequence[bytes]) -> Reply:
            return Taken() if sum(map(len, bodies)) <= 100 else Refused(status=413, detail="too large")

        bench = Bench(sender=ScriptedSender(rule=rule), pace=Pace(batch_events=64))
        bench.outbox.put([b"x" * 10 for _ in range(64)])
        bench.until_empty()
        learned = len(bench.sender.sent)
        bench.outbox.put([b"y" * 10 for _ in range(64)])
        bench.until_empty()
        assert len(bench.sender.taken) == 128
        assert not bench.outbox.dead
        assert all(sum(map(len, batch)) <= 100 for batch in bench.sender.sent[learned:])
        assert len(bench.sender.sent) - learned <= 13

    def test_one_too_large_is_buried_and_small_ones_still_share_batches(self) -> None:
        def rule(bodies: Sequence[bytes]) -> Reply:
            return Taken() if sum(map(len, bodies)) <= 100 else Refused(status=413, detail="too large")

        bench = Bench(sender=ScriptedSender(rule=rule))
        for _ in range(5):
            bench.outbox.put([b"x" * 9] * 4 + [b"G" * 101] + [b"x" * 9] * 4)
            bench.until_empty()
        assert len(bench.outbox.dead) == 5
        bench.outbox.put([b"x" * 9] * 10)
        before = len(bench.sender.sent)
        bench.until_empty()
        assert len(bench.sender.sent) - before <= 3

    def test_nothing_but_refusals_is_slowed_down(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(sender=ScriptedSender(rule=lambda bodies: REFUSED), pace=Pace(fuse_events=10, halt_s=60))
        bench.put(100)
        start_s = bench.clock.monotonic()
        while bench.clock.monotonic() < start_s + 119:
            bench.clock.advance(bench.courier.step())
        assert len(bench.outbox.dead) <= 20
        assert any("nothing but refusals" in line for line in errors(caplog))


class TestHalted:
    def test_buries_nothing_tells_once_and_resumes(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        bench = Bench(sender=ScriptedSender(rule=lambda bodies: HALTED))
        bodies = bench.put(5)
        assert bench.waits(4) == [60.0] * 4
        assert [len(batch) for batch in bench.sender.sent] == [5, 1, 1, 1]
        assert not bench.outbox.dead
        assert not bench.outbox.leased
        assert errors(caplog) == ["delivery halted, nothing is lost: renew KONNECT_TOKEN (HTTP 401): expired"]
        bench.sender.rule = lambda bodies: Taken()
        bench.until_empty()
        assert bench.sender.taken == bodies
        assert caplog.records[-1].getMessage() == "delivery resumed"
        assert bench.log.calls == [("halted", "expired", "renew KONNECT_TOKEN")] * 4 + [("succeeded",)]

    def test_another_cause_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        other = Halted(status=403, detail="role", hint="give it Ingest")
        bench = Bench(sender=ScriptedSender([HALTED, HALTED, other, Taken(), HALTED]))
        bench.put(2)
        bench.waits(5)
        assert len(errors(caplog)) == 3

    def test_in_the_middle_of_a_search(self) -> None:
        bench = Bench(sender=ScriptedSender([REFUSED, Taken(), HALTED]))
        bench.put(8)
        bench.waits(3)
        assert len(bench.outbox.acked) == 4
        assert not bench.outbox.leased
        bench.until_empty()
        assert len(bench.outbox.acked) == 8


class BrittleOutbox(MemoryOutbox):
    """Fails to write as often as it is told to."""

    failures = 0

    def ack(self, seqs: Sequence[int], *, at_ns: int) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("disk full")
        super().ack(seqs, at_ns=at_ns)


class TestTrouble:
    def test_what_was_taken_is_not_sent_again_because_the_disk_was_full(self) -> None:
        outbox = BrittleOutbox()
        bench = Bench(sender=ScriptedSender(), outbox=outbox, pace=Pace(batch_events=2))
        bench.put(2)
        outbox.failures = 2
        for _ in range(2):
            with pytest.raises(StoreError):
                bench.courier.step()
        bench.until_empty()
        assert len(bench.sender.sent) == 1
        assert sorted(outbox.acked) == [1, 2]

    def test_run_outlives_everything(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(
            sender=ScriptedSender([RuntimeError("bug"), OSError("odd")]), pace=Pace(batch_events=1, backoff_base_s=0.0)
        )
        bench.put(2)
        stop = threading.Event()

        def rule(bodies: Sequence[bytes]) -> Reply:
            stop.set()
            return Taken()

        bench.sender.rule = rule
        bench.courier.run(stop)
        assert len(bench.outbox.acked) == 1
        assert len(errors(caplog)) == 1
        assert "bug" in caplog.text

    def test_success_is_told_at_most_once_a_second(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=1))
        bench.put(10)
        bench.waits(10)
        assert bench.log.calls == [("succeeded",)]
        bench.courier.step()
        assert bench.log.calls == [("succeeded",)] * 2

    def test_a_late_success_is_told_before_the_failure(self) -> None:
        bench = Bench(sender=ScriptedSender([Taken(), Taken(), RETRY]), pace=Pace(batch_events=1))
        bench.put(3)
        bench.waits(3)
        assert bench.log.calls == [("succeeded",), ("succeeded",), ("delayed", "HTTP 503: busy")]


class TestDrain:
    def test_sends_what_is_young(self) -> None:
        bench = Bench(sender=ScriptedSender(), pace=Pace(batch_events=4))
        bench.put(6)
        assert bench.courier.drain(5.0) == 0
        assert [len(batch) for batch in bench.sender.sent] == [4, 2]
        assert bench.sender.timeouts == [5.0, 5.0]

    def test_is_over_in_time_and_gives_back_the_leases(self) -> None:
        bench = Bench(sender=ScriptedSender(rule=lambda bodies: RETRY))
        bench.put(3)
        start_s = bench.clock.monotonic()
        assert bench.courier.drain(5.0) == 3
        assert bench.clock.monotonic() - start_s <= 5.0
        assert not bench.outbox.leased
        assert len(bench.sender.sent) == 4

    def test_does_not_wait_for_what_cannot_come(self) -> None:
        bench = Bench(sender=ScriptedSender([HALTED]))
        bench.put(3)
        start_s = bench.clock.monotonic()
        assert bench.courier.drain(30.0) == 3
        assert bench.clock.monotonic() == start_s
        assert len(bench.sender.sent) == 1

    def test_waits_for_leases_of_others_no_longer_than_told(self) -> None:
        bench = Bench(sender=ScriptedSender())
        bench.put(1)
        bench.outbox.lease(1, 100)
        assert bench.courier.drain(3.0) == 1
        assert bench.sender.sent == []

    def test_zero_sends_nothing(self) -> None:
        bench = Bench(sender=ScriptedSender([RETRY]))
        bench.put(1)
        bench.waits(1)
        assert bench.outbox.leased
        assert bench.courier.drain(0.0) == 1
        assert not bench.outbox.leased
        assert len(bench.sender.sent) == 1

    def test_never_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(sender=ScriptedSender([RuntimeError("bug")]))
        bench.put(1)
        assert bench.courier.drain(5.0) == 1
        assert not bench.outbox.leased
        assert errors(caplog) == ["delivery: the last events could not be sent"]
