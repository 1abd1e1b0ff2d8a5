"""A recording that is larger than the window."""

import random
from collections.abc import Iterable, Sequence

import msgspec

from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.conversion import Conversion, settlements
from spanmeter.store.journal import JournalEntry
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.recognition import Recogniser
from tests.spans import NOW_NS, carrier, entry, facts, link, llm_call, trace_id

RECOGNISER = Recogniser(tenant_attributes=("tenant.id",))
BILLED = (Outcome.BILLED, Reason.OWN_CALL)
SAME = (Outcome.DUPLICATE, Reason.SAME_RESPONSE)
PARKED = (Outcome.PARKED, Reason.NO_TENANT)


def conversion(open_spans: int) -> Conversion:
    return Conversion(RECOGNISER, Rules(), NOW_NS, open_spans)


def converted(entries: Iterable[JournalEntry], *, open_spans: int) -> tuple[list[bytes], dict[object, int], Conversion]:
    """Bodies in the order of printing, spans by outcome, and what did it."""
    running = conversion(open_spans)
    bodies = [body for settlement in settlements(running, entries) for body in settlement.all_bodies()]
    return bodies, {what: amount.spans for what, amount in running.tallies.items() if amount.spans}, running


def response(number: int) -> str:
    return f"chatcmpl-AbCdEfGh{number:010}"


def filler(number: int, traces: int = 10) -> JournalEntry:
    """A request of other traces, each of ten spans, of which one is a call."""
    first = 1_000_000 + number * traces
    return entry(
        *(facts(1, trace=trace, tenant="other") for trace in range(first, first + traces)),
        *(carrier(at, "other", trace=trace) for at in range(2, 11) for trace in range(first, first + traces)),
    )


def recording() -> list[JournalEntry]:
    """Agents with a tenant above, two instrumentations, links, repetitions, the same call in several traces; a trace's
    spans are three requests apart."""
    chance = random.Random(5)
    entries: list[list[object]] = [[] for _ in range(43)]
    links: list[list[bytes]] = [[] for _ in range(43)]
    for trace in range(1, 401):
        at = trace // 10
        number = chance.randrange(300)
        call = llm_call(1 + number % 8, response_id=response(number))
        entries[at].append(facts(3, trace=trace, parent=2, call=call, scope="inner"))
        if trace % 3 == 0:
            entries[at + 1].append(facts(4, trace=trace, parent=3, call=call, scope="outer"))
        if trace % 5 == 0:
            entries[at + 2].append(facts(3, trace=trace, parent=2, call=call, scope="inner"))
        links[at + 1].append(link(2, trace=trace, parent=1))
        entries[at + 2].append(carrier(1, ["acme", "bolt"][number % 2], trace=trace))
    return [entry(*spans, links=some) for spans, some in zip(entries, links, strict=True)]  # type: ignore[arg-type]


def test_one_window_is_all_together() -> None:
    recorded = recording()
    together = conversion(1 << 30)
    for one in recorded:
        together.take(one)
    assert together.settle_oldest() is None
    bodies, outcomes, _ = converted(recorded, open_spans=100_000)
    settlement = together.settle()
    assert bodies == [*settlement.all_bodies()] != []
    assert outcomes == {what: amount.spans for what, amount in settlement.tallies.items() if amount.spans}


def test_windows_that_hold_whole_traces_bill_the_same_calls_and_balance() -> None:
    recorded = recording()
    whole, _, _ = converted(recorded, open_spans=100_000)
    parts, outcomes, running = converted(recorded, open_spans=150)
    assert billed(parts) == billed(whole)
    assert len(parts) == len(whole)
    assert parts != whole
    assert sum(outcomes.values()) == running.spans


def billed(bodies: Iterable[bytes]) -> set[tuple[str, str, int]]:
    """Which record of a call stands for it, and gives it its time, depends on what was decided together."""
    made = map(msgspec.json.decode, bodies)
    return {(event["id"], event["subject"], event["data"]["tokens"]) for event in made}


def waiting(running: Conversion) -> int:
    return sum(len(trace.arrivals) for trace in running._open.values())


def test_no_more_than_the_window_waits() -> None:
    running, most = conversion(300), 0
    for number in range(50):
        running.take(filler(number))
        running.settle_oldest()
        most = max(most, waiting(running))
    assert 200 < most <= 300
    running.settle()
    assert running.tallies[BILLED].spans == 500


def test_the_first_heard_of_is_the_first_decided_unless_it_is_heard_of_again() -> None:
    old, busy = facts(2, trace=1, parent=1), facts(2, trace=2, parent=1)
    fill: Sequence[JournalEntry] = [filler(number, 4) for number in range(4)]
    entries = [entry(old, busy), fill[0], entry(links=[link(5, trace=2, parent=2)]), fill[1], fill[2]]
    running = conversion(100)
    decided = set()
    for some in entries:
        running.take(some)
        settlement = running.settle_oldest()
        decided |= {decision.span.trace_id for decision in settlement.all_decisions()} if settlement else set()
    assert trace_id(1) in decided
    assert trace_id(2) not in decided


def llm_outcomes(entries: Iterable[JournalEntry]) -> dict[object, int]:
    """LLM spans by outcome, with a window of 200 spans."""
    _, outcomes, _ = converted(entries, open_spans=200)
    del outcomes[Outcome.IGNORED, Reason.NOT_AN_LLM_SPAN]
    return outcomes


class TestAfterTheDecision:
    def fill(self) -> list[JournalEntry]:
        return [filler(number) for number in range(3)]

    def test_a_late_tenant_still_finds_the_parked_call(self) -> None:
        entries = [entry(facts(2, parent=1)), *self.fill(), entry(carrier(1, "acme"))]
        bodies, _, _ = converted(entries, open_spans=200)
        assert llm_outcomes(entries) == {BILLED: 31}
        assert sum(b'"subject":"acme"' in body for body in bodies) == 2

    def test_and_so_does_a_late_link(self) -> None:
        late = entry(links=[link(5, parent=1)])
        entries = [entry(carrier(1, "acme"), carrier(7, "bolt"), facts(2, parent=5)), *self.fill(), late]
        assert llm_outcomes(entries) == {BILLED: 31}

    def test_the_same_response_in_another_trace_is_the_same_call(self) -> None:
        call = llm_call(response_id=response(1))
        entries = [
            entry(facts(tenant="acme", call=call)),
            *self.fill(),
            entry(facts(trace=2, tenant="acme", call=call)),
        ]
        assert llm_outcomes(entries) == {BILLED: 31, SAME: 1}

    def test_a_parked_record_is_a_duplicate_once_the_call_is_billed(self) -> None:
        call = llm_call(response_id=response(1))
        entries = [entry(facts(call=call)), *self.fill(), entry(facts(trace=2, tenant="acme", call=call))]
        assert llm_outcomes(entries) == {BILLED: 31, SAME: 1}

    def test_a_twin_of_another_instrumentation_is_a_duplicate(self) -> None:
        twin = facts(trace=2, tenant="acme", scope="other")
        entries = [entry(facts(tenant="acme")), *self.fill(), entry(twin)]
        assert llm_outcomes(entries) == {BILLED: 31, (Outcome.DUPLICATE, Reason.SIDE_BY_SIDE): 1}

    def test_what_is_too_long_ago_is_forgotten(self) -> None:
        call = llm_call(response_id=response(1))
        far = [filler(number) for number in range(60)]
        entries = [entry(facts(tenant="acme", call=call)), *far, entry(facts(trace=2, tenant="acme", call=call))]
        assert llm_outcomes(entries) == {BILLED: 602}
