"""A person's decisions on refused events, on a real file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.delivery.dead_letters import DeadLetters, LetterSelection
from spanmeter.errors import UsageError
from spanmeter.store.redelivery import PAGE, SqliteRedelivery
from spanmeter.testing.clock import ManualClock
from tests.integration.events import Books, usage_event
from tests.spans import NOW_NS

ALL = LetterSelection(everything=True)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    books.make(usage_event(1), usage_event(2, subject="globex"), usage_event(3))
    yield books
    books.database.close()


def letters(books: Books) -> DeadLetters:
    return DeadLetters(SqliteRedelivery(books.database), clock=ManualClock())


def test_refused_events_are_listed_with_the_services_words(books: Books) -> None:
    books.send(1)
    books.refuse(1, status=413, reason="too large")
    books.refuse(1, reason="no data")
    assert [(x.id, x.subject, x.status, x.refusal) for x in letters(books).waiting(ALL)] == [
        ("call-2-input", "globex", 413, "too large"),
        ("call-3-input", "acme", 400, "no data"),
    ]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (LetterSelection(ids=("call-1-input", "call-3-input")), [1, 3]),
        (LetterSelection(status=413), [3]),
        (LetterSelection(where=(("tenant", "globex"),)), [2]),
        (LetterSelection(where=(("model", "gpt-4o-mini"), ("tokens", "10"))), [1, 2, 3]),
        (LetterSelection(where=(("model", "other"),)), []),
        (LetterSelection(ids=("call-1-input",), status=413), []),
        (LetterSelection(ids=("call",)), []),
        (ALL, [1, 2, 3]),
    ],
)
def test_selecting(books: Books, selection: LetterSelection, chosen: list[int]) -> None:
    books.refuse(2)
    books.refuse(1, status=413)
    assert [letter.id for letter in letters(books).waiting(selection)] == [f"call-{number}-input" for number in chosen]


def test_nothing_named_is_refused() -> None:
    with pytest.raises(UsageError, match="which dead letters"):
        LetterSelection()


def test_a_retried_one_goes_out_as_it_was(books: Books) -> None:
    before = books.bodies()
    books.refuse()
    assert letters(books).retry(LetterSelection(ids=("call-2-input",))) == 1
    assert books.tables() == ["dead_letter", "outbox", "dead_letter"]
    [again] = books.outbox.lease(9, 9999)
    assert again.body == before[1]
    books.outbox.bury([again.seq], status=400, reason="again", at_ns=NOW_NS)
    assert books.tables() == ["dead_letter"] * 3
    assert books.bodies() == before


def test_what_is_given_up_stays_with_time_and_reason(books: Books) -> None:
    books.refuse(2, reason="no such thing")
    assert letters(books).discard(LetterSelection(where=(("tenant", "globex"),)), why=" a test tenant ") == 1
    assert books.tables() == ["dead_letter", "discarded", "outbox"]
    [gone] = letters(books).given_up(ALL)
    assert (gone.id, gone.status, gone.refusal, gone.why) == ("call-2-input", 400, "no such thing", "a test tenant")
    assert gone.discarded_ns == ManualClock().now_ns()
    assert letters(books).retry(ALL) == 1
    assert books.tables() == ["outbox", "discarded", "outbox"]


def test_giving_up_needs_a_reason(books: Books) -> None:
    books.refuse()
    with pytest.raises(UsageError, match="reason"):
        letters(books).discard(ALL, why="  ")
    assert books.tables() == ["dead_letter"] * 3


def test_finding_one_by_how_its_id_begins(books: Books) -> None:
    books.refuse()
    letters(books).discard(LetterSelection(ids=("call-1-input",)), why="x")
    assert [letter.id for letter in letters(books).find("call-2")] == ["call-2-input"]
    assert len(letters(books).find("call-")) == 3
    with pytest.raises(UsageError, match="call-9"):
        letters(books).find("call-9")


def test_more_than_one_page(tmp_path: Path) -> None:
    books = Books(tmp_path / "many")
    count = 2 * PAGE + 1
    books.make(*(usage_event(number) for number in range(count)))
    books.refuse()
    assert letters(books).retry(ALL) == count
    books.refuse()
    assert letters(books).discard(ALL, why="x") == count
    assert set(books.where().values()) == {"discarded"}
    books.database.close()
