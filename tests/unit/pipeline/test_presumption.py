"""What comes is taken for new, and the books are asked where it was not."""

from collections.abc import Collection, Mapping

from spanmeter.errors import ConflictError
from spanmeter.pipeline.presumption import MOST_ROUNDS, Presumption
from spanmeter.store.ledger import Billed, Settlement, TraceMemory
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.outcome import Outcome, Reason
from tests.spans import SECOND_NS, SPECIFIC_ID, entry, facts, llm_call
from tests.unit.store.books import MemoryBooks, assembler_of

QUIET_S = 3


class AskedBooks(MemoryBooks):
    """Note of how much they were asked, and how often they refused."""

    asked = refused = 0

    def memories(self, trace_ids: Collection[bytes]) -> Mapping[bytes, TraceMemory]:
        self.asked += len(trace_ids)
        return super().memories(trace_ids)

    def billed(self, source: str, names: Collection[str]) -> Mapping[str, Mapping[str, Billed]]:
        self.asked += len(names)
        return super().billed(source, names)

    def settle(self, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
        before = self.asked
        try:
            super().settle(settlement, now_ns=now_ns, deliver=deliver)
        except ConflictError:
            self.refused += 1
            raise
        finally:
            self.asked = before


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.books = AskedBooks()
        self._assembler = assembler_of(self.books, self.clock, quiet_ns=QUIET_S * SECOND_NS, max_ns=9 * SECOND_NS)

    def decide(self, *spans: SpanFacts) -> int:
        """These in a round of their own; of how much the books were asked."""
        before = self.books.asked
        self.books.append([entry(*spans, received_ns=self.clock.now_ns())])
        self.clock.advance(QUIET_S)
        while self._assembler.step():
            pass
        return self.books.asked - before


def call(number: int, trace: int, response_id: str = "") -> SpanFacts:
    return facts(number, trace=trace, tenant="acme", call=llm_call(response_id=response_id))


def test_the_books_are_not_asked_about_what_is_new() -> None:
    world = World()
    assert world.decide(*(call(1, trace) for trace in range(1, 9))) == 0
    assert len(world.books.events) == 16


def test_what_is_not_new_is_decided_with_what_was_before() -> None:
    world = World()
    world.decide(call(1, 1, SPECIFIC_ID))
    assert world.decide(call(1, 2, SPECIFIC_ID), call(1, 3), call(1, 1)) > 0  # the response again, a new call, a copy
    assert world.books.spans() == {
        (Outcome.BILLED, Reason.OWN_CALL): 2,
        (Outcome.DUPLICATE, Reason.SAME_RESPONSE): 1,
        (Outcome.DUPLICATE, Reason.RESENT): 1,
    }
    assert len(world.books.events) == 4


def test_who_goes_on_with_old_traces_is_refused_ever_less_often() -> None:
    world = World()
    world.decide(call(1, 1))
    for number in range(2, 102):
        world.decide(call(number, 1))
    assert world.books.refused == 7  # in rounds 1, 3, 6, 11, 20, 37 and 70
    assert world.books.spans() == {(Outcome.BILLED, Reason.OWN_CALL): 101}


def test_it_is_made_again_when_it_held() -> None:
    presumption = Presumption()
    for _ in range(20):
        while not presumption.make():
            pass
        presumption.refuted()
    waited = 0
    while not presumption.make():
        waited += 1
    assert waited == MOST_ROUNDS
    for _ in range(20):
        presumption.confirmed()
        assert presumption.make()
    presumption.refuted()
    assert [presumption.make() for _ in range(2)] == [False, True]
