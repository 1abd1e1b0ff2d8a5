"""`ledger.report` and `ledger.status` on a real file."""

import itertools
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from spanmeter.errors import UsageError
from spanmeter.ledger.report import Period, UsageRow, usage_rows
from spanmeter.ledger.status import read_status
from spanmeter.store.database import Database
from spanmeter.store.ledger import Settlement, SqliteLedger, Tally
from spanmeter.store.outbox import SqliteDeliveryLog, SqliteOutbox
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent
from tests.integration.books import MAX_S, QUIET_S, Plant
from tests.spans import NOW_NS, SECOND_NS, carrier, entry, facts, link

HOUR_NS = 3600 * SECOND_NS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(tmp_path)) as database:
        yield database


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    plant.close()


def bill(database: Database, *events: tuple[str, int, str, int], model: str = "gpt") -> None:
    """Events of (tenant, time in ns, token class, tokens)."""
    first = database.execute("event_max")[0][0]
    made = [
        UsageEvent(
            id=f"{first + number}",
            source="spanmeter",
            type="t",
            subject=subject,
            time_ns=time_ns,
            token_class=TokenClass(token_class),
            tokens=tokens,
            model=model,
            provider="p",
            scope="test",
            data={},
        )
        for number, (subject, time_ns, token_class, tokens) in enumerate(events)
    ]
    SqliteLedger(database).settle(Settlement(events=made, bodies=[b"{}"] * len(made)), now_ns=NOW_NS, deliver=True)


def test_rows_are_sums_in_order(database: Database) -> None:
    bill(database, ("b", NOW_NS, "input", 1), ("a", NOW_NS, "output", 2), ("a", NOW_NS + 1, "output", 3))
    bill(database, ("a", NOW_NS, "output", 50), model="other")
    row = UsageRow(tenant="a", period="", model="gpt", token_class="output", events=2, tokens=5)
    assert usage_rows(database) == [
        row,
        replace(row, model="other", events=1, tokens=50),
        replace(row, tenant="b", token_class="input", events=1, tokens=1),
    ]
    assert usage_rows(database, tenant="b") == usage_rows(database)[2:]
    assert usage_rows(database, tenant="c") == []


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period.HOUR, {"2026-01-01T00:00Z": 1, "2026-01-01T01:00Z": 2, "2026-01-02T00:00Z": 4, "2026-02-01T00:00Z": 8}),
        (Period.DAY, {"2026-01-01": 3, "2026-01-02": 4, "2026-02-01": 8}),
        (Period.MONTH, {"2026-01": 7, "2026-02": 8}),
        (Period.ALL, {"": 15}),
    ],
)
def test_periods(database: Database, period: Period, expected: dict[str, int]) -> None:
    for hours, tokens in ((0, 1), (1, 2), (24, 4), (24 * 31, 8)):
        bill(database, ("a", NOW_NS + hours * HOUR_NS, "input", tokens))
    assert {row.period: row.tokens for row in usage_rows(database, period=period)} == expected


@pytest.mark.parametrize(
    ("since", "until", "tokens"),
    [
        ("", "", 7),
        ("2026-01-01", "", 7),
        ("2026-01-01T00:00:00.000001Z", "", 6),
        ("2026-01-01T01:00:00+00:00", "", 6),
        ("2026-01-01T03:00:00+02:00", "", 6),
        ("", "2026-01-01T01:00:00Z", 1),
        ("2026-01-01T01:00", "2026-01-02", 2),
        ("2026-01-02", "9999-12-31", 4),
        ("0001-01-01", "2026-01-01", 0),
    ],
)
def test_from_inclusive_to_exclusive(database: Database, since: str, until: str, tokens: int) -> None:
    for hours, number in ((0, 1), (1, 2), (24, 4)):
        bill(database, ("a", NOW_NS + hours * HOUR_NS, "input", number))
    assert sum(row.tokens for row in usage_rows(database, since=since, until=until)) == tokens


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1767225600x"])
def test_no_date(database: Database, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        usage_rows(database, since=text)
    assert caught.value.hint


class TestStatus:
    def test_nothing_yet(self, database: Database) -> None:
        status = read_status(database)
        assert status.balanced
        assert (status.outcomes, status.undecided, status.journal_rows, status.journal_oldest_s) == ([], Tally(), 0, 0)
        assert status.delivery.state == "idle"
        assert status.delivery.last_delivery == status.delivery.last_error == status.delivery.oldest_pending == ""

    def test_midway_and_in_the_end(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"), facts(2, trace=2, parent=1), carrier(9, "x", trace=3), links=[link(8)])
        status = read_status(plant.database)
        assert status.balanced
        assert status.undecided == Tally(spans=2, input_tokens=20, output_tokens=10)
        assert (status.received.spans, status.received.llm_spans, status.journal_rows) == (4, 2, 1)
        assert {(row.outcome, row.spans) for row in status.outcomes} == {("ignored", 2)}
        plant.run(QUIET_S)
        status = read_status(plant.database)
        assert status.balanced
        assert status.undecided == Tally(spans=1, input_tokens=10, output_tokens=5)
        plant.run(2 * MAX_S)
        status = read_status(plant.database)
        assert status.balanced
        assert (status.undecided, status.journal_rows) == (Tally(), 0)
        assert {(row.outcome, row.spans) for row in status.outcomes} == {("billed", 1), ("parked", 1), ("ignored", 2)}

    def test_rejected_spans_have_an_outcome(self, plant: Plant) -> None:
        plant.journal.append([entry(rejected=2, others=3)])
        outcomes = {(row.outcome, row.reason): row.spans for row in read_status(plant.database).outcomes}
        assert outcomes == {("ignored", "not an LLM span"): 3, ("invalid", "ids of a wrong length"): 2}

    def test_books_that_do_not_balance_say_so(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        with plant.database.transaction() as transaction:
            transaction.execute("received_add", 0, 0, 0, 0, 1, 0)
        assert not read_status(plant.database).balanced

    def test_delivery(self, plant: Plant) -> None:
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S)
        delivery = read_status(plant.database).delivery
        assert (delivery.state, delivery.pending, delivery.local_only) == ("idle", 2, 0)
        assert delivery.oldest_pending == "2026-01-01T00:00:05.000000000Z"
        outbox, log = SqliteOutbox(plant.database), SqliteDeliveryLog(plant.database)
        first, second = outbox.lease(9, 9999)
        log.halted(at_ns=NOW_NS, error="HTTP 401", hint="renew the token")
        delivery = read_status(plant.database).delivery
        assert (delivery.state, delivery.last_error, delivery.hint) == ("halted", "HTTP 401", "renew the token")
        outbox.ack([first.seq], at_ns=NOW_NS)
        outbox.bury([second.seq], status=400, reason="no", at_ns=NOW_NS)
        log.succeeded(at_ns=NOW_NS + 1)
        delivery = read_status(plant.database).delivery
        assert (delivery.state, delivery.hint, delivery.pending, delivery.dead_letters) == ("delivering", "", 0, 1)
        assert (delivery.last_delivery, delivery.last_error) == ("2026-01-01T00:00:00.000000001Z", "HTTP 401")

    def test_without_a_service(self, tmp_path: Path) -> None:
        plant = Plant(tmp_path / "local", deliver=False)
        plant.take(facts(1, tenant="acme"))
        plant.run(QUIET_S)
        delivery = read_status(plant.database).delivery
        assert (delivery.pending, delivery.local_only) == (0, 2)
        assert sum(row.events for row in usage_rows(plant.database)) == 2
        plant.close()


def as_rebuilt(database: Database) -> list[object]:
    """What `usage_day` would be, made anew from the events."""
    with closing(sqlite3.connect(database.path)) as connection:
        return connection.execute(
            "SELECT time_ns / 86400000000000, subject, model, token_class, count(*), sum(tokens) FROM event "
            "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ).fetchall()


def as_kept(database: Database) -> list[object]:
    with closing(sqlite3.connect(database.path)) as connection:
        return connection.execute("SELECT * FROM usage_day ORDER BY 1, 2, 3, 4").fetchall()


class TestUsageDays:
    def test_any_range_and_period_agree_with_the_events(self, database: Database) -> None:
        chance = random.Random(7)
        for model in ("m", "n", "m"):
            times = [NOW_NS + chance.randrange(5 * 86_400) * SECOND_NS + chance.randrange(3) for _ in range(60)]
            times += [NOW_NS, NOW_NS + 24 * HOUR_NS, NOW_NS + 24 * HOUR_NS - 1]
            bill(
                database,
                *((chance.choice("ab"), time_ns, "input", chance.randrange(-5, 50)) for time_ns in times),
                model=model,
            )
        ends = ["", "2026-01-01", "2026-01-03", "2026-01-02T07:30:00Z", "2026-01-02T09:00:00Z", "2026-01-05T23:59:59Z"]
        for since, until, tenant in itertools.product(ends, ends, ("", "a")):
            hours = usage_rows(database, period=Period.HOUR, since=since, until=until, tenant=tenant)
            for period in (Period.DAY, Period.MONTH, Period.ALL):
                rows = usage_rows(database, period=period, since=since, until=until, tenant=tenant)
                assert sum(row.tokens for row in rows) == sum(row.tokens for row in hours)
                assert sum(row.events for row in rows) == sum(row.events for row in hours)
                length = {Period.DAY: 10, Period.MONTH: 7, Period.ALL: 0}[period]
                assert {row.period for row in rows} == {row.period[:length] for row in hours}
        assert as_kept(database) == as_rebuilt(database) != []

    def test_what_retention_deletes_is_taken_out(self, database: Database) -> None:
        bill(database, ("a", NOW_NS, "input", 1), ("a", NOW_NS + 1, "input", 2), ("b", NOW_NS, "output", 3))
        outbox = SqliteOutbox(database)
        one, _, other = seqs = [event.seq for event in outbox.lease(9, 999)]
        outbox.ack(seqs, at_ns=NOW_NS)
        with database.transaction() as transaction:
            transaction.execute_many("sent_prune", [(one,), (other,)])
            transaction.execute_many("event_prune", [(one,), (other,)])
        assert as_kept(database) == as_rebuilt(database) == [(NOW_NS // (24 * HOUR_NS), "a", "gpt", "input", 1, 2)]
