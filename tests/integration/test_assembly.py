import itertools
import random
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from spanmeter.errors import StoreError
from spanmeter.ledger.status import read_status
from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.conversion import Conversion
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import Settlement, SqliteLedger
from spanmeter.usage.call import SpanFacts
from spanmeter.wire.request import DecodedRequest
from tests.integration.books import MAX_S, MEMORY_S, QUIET_S, RECOGNISER, Plant
from tests.spans import NOW_NS, SPECIFIC_ID, carrier, entry, facts, link, llm_call, request, span, trace_id


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    plant.close()


class TestWhen:
    def test_a_whole_trace_after_a_silence(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S - 0.5)
        assert plant.bodies() == []
        plant.run(0.5)
        assert len(plant.bodies()) == 2
        assert plant.assembler.open_traces == 0

    def test_each_span_prolongs_the_silence(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S - 1)
        plant.take(links=[link(2, parent=1)])
        plant.run(QUIET_S - 0.5)
        assert plant.bodies() == []
        plant.run(0.5)
        assert len(plant.bodies()) == 2

    def test_spans_of_other_traces_do_not(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S - 1)
        plant.take(facts(1, trace=2, tenant="acme"))
        plant.run(1)
        assert len(plant.bodies()) == 2

    def test_without_its_root_at_the_maximum_age(self, plant: Plant) -> None:
        plant.take(facts(2, parent=1, tenant="acme"))
        plant.run(MAX_S - 0.5)
        assert plant.bodies() == []
        plant.run(0.5)
        assert len(plant.bodies()) == 2

    def test_never_quiet_at_the_maximum_age(self, plant: Plant) -> None:
        for number in range(1, 14):
            plant.take(facts(number, tenant="acme"))
            plant.run(QUIET_S - 0.5)
        plant.take(facts(14, tenant="acme"))
        plant.run(MAX_S - 13 * (QUIET_S - 0.5) - 0.5)
        assert plant.bodies() == []
        plant.run(0.5)
        assert len(plant.bodies()) == 28

    def test_the_root_comes_later_and_names_the_tenant(self, plant: Plant) -> None:
        plant.take(facts(3, parent=2))
        plant.run(20)
        assert plant.bodies() == []
        plant.take(carrier(1, "acme"), links=[link(2, parent=1)])
        plant.run(QUIET_S)
        assert b'"subject":"acme"' in plant.bodies()[0]

    def test_only_links_between_the_call_and_its_root(self, plant: Plant) -> None:
        for links in ([link(4, parent=3)], [link(3, parent=2)], [link(2, parent=1)]):
            plant.take(links=links)
            plant.run(0.5)
        plant.take(facts(5, parent=4))
        plant.take(carrier(1, "acme"))
        plant.run(QUIET_S)
        assert len(plant.bodies()) == 2

    def test_a_remote_parent_is_not_waited_for_once_the_tenant_is_known(self, plant: Plant) -> None:
        plant.take(facts(2, parent=1, tenant="acme", parent_is_remote=True))
        plant.take(facts(2, trace=2, parent=1, parent_is_remote=True))
        plant.take(facts(3, trace=3, parent=2), carrier(2, "bolt", trace=3, parent=1, parent_is_remote=True))
        plant.take(facts(2, trace=4, parent=1, tenant="acme", parent_is_remote=False))
        plant.run(QUIET_S)
        assert len(plant.bodies()) == 4
        plant.run(MAX_S)
        assert plant.outcomes() == {"billed": 3, "parked": 1}

    def test_closing_decides_what_is_whole_at_once(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.take(facts(2, trace=2, parent=1, tenant="acme"))
        plant.settle(close=True)
        assert len(plant.bodies()) == 2
        plant.run(MAX_S)
        assert len(plant.bodies()) == 4


class TestLate:
    def test_a_tenant_unparks_once(self, plant: Plant) -> None:
        plant.take(facts(2, parent=1))
        plant.run(MAX_S)
        assert (plant.outcomes(), len(plant.held())) == ({"parked": 1}, 1)
        for _ in range(2):
            plant.take(carrier(1, "acme"))
            plant.run(MAX_S)
            assert (plant.outcomes(), plant.held()) == ({"billed": 1}, set())
        assert len(plant.bodies()) == 2

    def test_a_tenant_unparks_at_once_when_closing(self, plant: Plant) -> None:
        plant.take(facts(1, trace=1, parent=9))
        plant.run(MAX_S + 1)
        assert plant.outcomes() == {"parked": 1}
        plant.take(carrier(9, "acme", trace=1))
        plant.settle(close=True)
        assert plant.outcomes() == {"billed": 1}

    def test_the_same_span_again_is_a_duplicate_while_it_is_remembered(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S)
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S)
        assert plant.outcomes() == {"billed": 1, "duplicate": 1}
        assert len(plant.bodies()) == 2

    def test_and_when_it_is_forgotten(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"), facts(2))
        plant.run(QUIET_S)
        plant.clock.advance(MEMORY_S - QUIET_S)
        plant.settle()
        assert plant.remembered() == 1
        plant.clock.advance(61 + QUIET_S)
        plant.settle()
        assert plant.remembered() == 0
        plant.take(facts(1, tenant="acme"), facts(2))
        plant.run(QUIET_S)
        assert len(plant.bodies()) == 2
        assert read_status(plant.database).balanced

    def test_its_own_late_spans_keep_a_memory_alive(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S)
        plant.clock.advance(MEMORY_S - 100)
        plant.take(facts(2, tenant="acme"))
        plant.run(QUIET_S)
        plant.clock.advance(200)
        plant.settle()
        assert plant.remembered() == 1


class TestJournal:
    def test_is_empty_in_the_end(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"), facts(1, trace=2))
        plant.take(facts(2, parent=1), links=[link(3, parent=2), link(9, trace=7)])
        plant.take(links=[link(4, trace=5)])
        plant.take(carrier(5, "acme", trace=8))
        plant.run(2 * MAX_S)
        assert plant.journal.depth() == 0
        assert plant.assembler.open_traces == 0

    def test_rows_stay_while_a_trace_in_them_is_open(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"), facts(2, trace=2, parent=1))
        plant.run(QUIET_S)
        assert len(plant.bodies()) == 2
        assert plant.journal.depth() == 1
        plant.run(MAX_S)
        assert plant.journal.depth() == 0

    def test_many_traces_and_rows(self, plant: Plant) -> None:
        plant.journal.append([entry(facts(1, trace=trace, tenant="acme")) for trace in range(1, 1201)])
        plant.run(QUIET_S)
        assert len(plant.bodies()) == 2400
        assert plant.journal.depth() == 0

    def test_a_stop_longer_than_the_memory_counts_nothing_twice(self, plant: Plant) -> None:
        """Links of other traces keep rows in the journal for a while after those of their facts were decided."""
        plant.journal.append(
            [entry(facts(1, trace=trace), links=[link(2, trace=1_000 + trace)]) for trace in range(1, 402)]
        )
        plant.run(QUIET_S)
        assert plant.journal.depth() == 401
        plant.clock.advance(2 * MEMORY_S)
        plant.restart()
        plant.run(1)
        assert plant.outcomes() == {"parked": 401}
        assert plant.journal.depth() == 0
        assert read_status(plant.database).balanced

    def test_a_store_that_fails_loses_nothing(self, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
        plant.take(facts(1, tenant="acme"), facts(2, trace=2, tenant="acme"))
        plant.settle()
        plant.clock.advance(QUIET_S)

        def fail(self: SqliteLedger, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
            raise StoreError("full")

        with monkeypatch.context() as patch:
            patch.setattr(SqliteLedger, "settle", fail)
            for _ in range(3):
                with pytest.raises(StoreError):
                    plant.assembler.step()
        plant.run(1)
        assert len(plant.bodies()) == 4
        assert plant.journal.depth() == 0
        assert read_status(plant.database).balanced

    def test_a_store_that_fails_beside_a_trace_that_cannot_be_decided_loses_nothing(
        self, plant: Plant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plant.take(*(facts(1, trace=number, tenant="acme") for number in range(1, 5)))
        plant.settle()
        plant.clock.advance(QUIET_S)

        def fail(self: SqliteLedger, settlement: Settlement, *, now_ns: int, deliver: bool) -> None:
            if len(dict(settlement.all_memories())) == 4:
                raise ValueError("one of them")
            raise StoreError("full")

        with monkeypatch.context() as patch:
            patch.setattr(SqliteLedger, "settle", fail)
            with pytest.raises(StoreError):
                plant.assembler.step()
        plant.run(1)
        assert len(plant.bodies()) == 8
        assert plant.journal.depth() == 0


def story(plant: Plant, kill: Callable[[int], bool]) -> None:
    """Spans of some traces arrive over time; the assembler is killed wherever `kill` says so."""
    moments: list[Callable[[], None]] = [
        lambda: plant.take(facts(3, parent=2), facts(1, trace=2, tenant="bolt"), links=[link(2, parent=1)]),
        lambda: plant.take(facts(2, trace=3, parent=1, call=llm_call(response_id=SPECIFIC_ID))),
        lambda: plant.take(carrier(1, "acme"), facts(1, trace=2, tenant="bolt")),
        lambda: plant.take(carrier(1, "acme", trace=3), links=[link(9, trace=2, parent=1)]),
        lambda: plant.take(facts(5, trace=4, parent=4), links=[link(8, trace=8)]),
        lambda: plant.take(facts(1, trace=5, tenant="acme", call=llm_call(response_id=SPECIFIC_ID))),
    ]
    step = 0

    def restart_if_due() -> None:
        nonlocal step
        step += 1
        if kill(step):
            plant.restart()

    for moment in moments:
        moment()
        plant.run(2, then=restart_if_due)
    plant.run(MAX_S + 30, then=restart_if_due)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], dict[str, int]]:
    plant = Plant(tmp_path_factory.mktemp("undisturbed"))
    story(plant, lambda step: False)
    result = plant.bodies(), plant.outcomes()
    plant.close()
    return result


@pytest.mark.parametrize("at", [*range(1, 25, 2), 34, 50, 120, 144, 0])
def test_a_restart_at_any_point_changes_nothing(
    plant: Plant, undisturbed: tuple[list[bytes], dict[str, int]], at: int
) -> None:
    """0: at every point."""
    story(plant, lambda step: at in (0, step))
    plant.run(1)
    assert (plant.bodies(), plant.outcomes()) == undisturbed
    assert plant.journal.depth() == 0
    assert read_status(plant.database).balanced
    assert plant.outcomes() == {"billed": 3, "duplicate": 2, "parked": 1}


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_rows_that_outlive_their_decision_change_nothing(
    plant: Plant,
    undisturbed: tuple[list[bytes], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    is_killed: bool,
) -> None:
    """Every nth time they are to be removed the disk fails, or the process is killed before."""
    remove, settle, times = SqliteJournal.remove, plant.settle, itertools.count(1)
    failed: list[Collection[int]] = []

    def fail(self: SqliteJournal, seqs: Collection[int]) -> None:
        if next(times) % nth == 0 and len(failed) < 30:
            failed.append(seqs)
            raise StoreError("full")
        remove(self, seqs)

    def settle_at_last(*, close: bool = False) -> None:
        while True:
            try:
                return settle(close=close)
            except StoreError:
                if is_killed:
                    plant.restart()

    monkeypatch.setattr(SqliteJournal, "remove", fail)
    monkeypatch.setattr(plant, "settle", settle_at_last)
    story(plant, lambda step: False)
    assert failed
    assert (plant.bodies(), plant.outcomes()) == undisturbed
    assert plant.journal.depth() == 0
    assert read_status(plant.database).balanced


def requests() -> list[DecodedRequest]:
    """Three traces over several requests, a call recorded twice, one that nobody pays, spans without interest."""
    return [
        request(span(3, parent=2, response_id=SPECIFIC_ID), links=[link(2, parent=1)]),
        request(span(1, tokens=None, tenant="acme"), span(4, parent=1, tokens=(7, 0))),
        request(span(1, trace=2, tenant="acme", response_id=SPECIFIC_ID), rejected=1),
        request(span(2, trace=2, tenant="bolt", tokens=(3, 9), end_ns=0, start_ns=0), links=[link(7, trace=9)]),
        request(span(1, trace=3), span(2, trace=3, tokens=None, attributes={"gen_ai.operation.name": "chat"})),
        request(span(1, trace=2, tenant="acme", response_id=SPECIFIC_ID)),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_offline_and_online_make_the_same_events(plant: Plant, seed: int) -> None:
    recorded = requests()
    random.Random(seed).shuffle(recorded)
    conversion = Conversion(RECOGNISER, Rules(), NOW_NS)
    conversion.add(recorded)
    settlement = conversion.settle()
    for one in recorded:
        plant.take_request(one)
    plant.run(MAX_S)
    assert sorted(settlement.bodies) == plant.bodies()
    assert len(plant.bodies()) == 5
    status = read_status(plant.database)
    offline = {
        (outcome.value, reason.value, amount.spans, amount.input_tokens, amount.output_tokens)
        for (outcome, reason), amount in settlement.tallies.items()
        if amount.spans
    }
    assert offline == {
        (row.outcome, row.reason, row.spans, row.input_tokens, row.output_tokens) for row in status.outcomes
    }
    assert (conversion.requests, conversion.spans, conversion.rejected, conversion.llm_spans) == (
        status.received.requests,
        status.received.spans,
        status.received.rejected,
        status.received.llm_spans,
    )


def test_facts_are_what_the_helpers_say() -> None:
    """The neutral span and the facts of `tests.spans` are the same span."""
    made = RECOGNISER.facts(span(2, parent=1, tenant="acme"), received_ns=NOW_NS)
    assert isinstance(made, SpanFacts)
    assert (made.span_id, made.start_ns, made.tenant) == (facts(2).span_id, facts(2).start_ns, "acme")


class TestAfterTheDecision:
    def test_a_link_alone_leads_a_parked_call_to_its_tenant(self, plant: Plant) -> None:
        plant.take(carrier(9, "acme"), carrier(8, "globex"), facts(1, parent=5))
        plant.run(MAX_S + 1)
        assert plant.outcomes() == {"parked": 1}
        plant.take(links=[link(5, parent=9)])
        plant.run(QUIET_S + 1)
        assert plant.outcomes() == {"billed": 1}
        plant.run(MAX_S + 1)
        assert plant.journal.depth() == 0

    def test_parts_of_a_sum_that_was_billed(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme", scope="outer", call=llm_call(30, 30)))
        plant.run(QUIET_S + 1)
        plant.take(
            facts(2, parent=1, scope="inner", call=llm_call(10, 10)),
            facts(3, parent=1, scope="inner", call=llm_call(20, 20)),
        )
        plant.run(MAX_S + 1)
        assert plant.outcomes() == {"billed": 1, "duplicate": 2}


class TestATraceThatGoesOnForDays:
    def test_its_memory_is_not_stored_again_for_every_span(self, plant: Plant) -> None:
        plant.take(*(facts(number, tenant="acme") for number in range(1, 1_201)))
        plant.run(QUIET_S + 1)
        assert len(plant.bodies()) == 2_400
        plant.take(facts(1_201, tenant="acme"))
        plant.run(MAX_S)
        assert len(plant.bodies()) == 2_400
        plant.run(1_201 * 0.06 - MAX_S + 1)
        assert len(plant.bodies()) == 2_402
        assert plant.journal.depth() == 0

    def test_rows_that_are_gone_from_the_journal_are_not_remembered(self, plant: Plant) -> None:
        for number in range(1, 8):
            plant.take(facts(number, tenant="acme"))
            last = plant.journal.read(after=0, limit=9)[-1].seq
            plant.run(QUIET_S + 1)
        [memory] = SqliteLedger(plant.database).memories([trace_id(1)]).values()
        assert (len(memory.facts), memory.rows) == (7, [last])
