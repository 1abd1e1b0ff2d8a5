import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from spanmeter.errors import OverloadedError, StoreError
from spanmeter.pipeline.intake import MOST_TOGETHER, MOST_WAITING, WINDOW_S, Intake, journal_entry
from spanmeter.store.journal import JournalEntry
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.request import DecodedRequest
from tests.spans import NOW_NS, link, request, span
from tests.unit.store.books import MemoryBooks, disk_full

RECOGNISER = Recogniser(tenant_attributes=("tenant.id",))
WAIT_S = 10.0


class GatedBooks(MemoryBooks):
    """A journal whose appends wait for `gate`; `entered` is set by the first that does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def append(self, entries: Sequence[JournalEntry]) -> None:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        super().append(entries)


def make(books: MemoryBooks, pauses: "list[float] | None" = None) -> Intake:
    return Intake(books, RECOGNISER, ManualClock(), pause=([] if pauses is None else pauses).append)


def submitted(intake: Intake, made: DecodedRequest) -> "Future[None]":
    """Ends when the intake tells."""
    done: Future[None] = Future()

    def told(error: StoreError | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    intake.submit(made, told)
    return done


def held_up(books: GatedBooks, pauses: "list[float] | None" = None) -> tuple[Intake, "Future[None]"]:
    """An intake whose writer is in the middle of its first append."""
    intake = make(books, pauses)
    intake.start()
    first = submitted(intake, request(span(1)))
    assert books.entered.wait(WAIT_S)
    return intake, first


def test_a_future_ends_when_its_entry_is_in_the_journal() -> None:
    books = MemoryBooks()
    intake = make(books)
    waiting = submitted(intake, request(span(1, tenant="acme"), links=[link(2, parent=1)], rejected=3))
    assert not waiting.done()
    intake.start()
    assert waiting.result(WAIT_S) is None
    intake.stop(WAIT_S)
    [entry] = books.entries
    assert (entry.received_ns, entry.spans, entry.rejected, len(entry.facts)) == (NOW_NS, 5, 3, 1)
    assert entry.links == link(2, parent=1)


def test_what_waits_together_shares_a_commit() -> None:
    books = GatedBooks()
    intake, first = held_up(books)
    others = [submitted(intake, request(span(number))) for number in range(2, 52)]
    assert not any(future.done() for future in (first, *others))
    books.gate.set()
    for future in (first, *others):
        future.result(WAIT_S)
    intake.stop(WAIT_S)
    assert books.appends == [1, 50]
    assert [entry.facts[0].span_id[-1] for entry in books.entries] == list(range(1, 52))


def test_requests_gather_after_a_shared_commit_and_only_then() -> None:
    books, pauses = GatedBooks(), list[float]()
    intake, first = held_up(books, pauses)
    others = [submitted(intake, request(span(number))) for number in range(2, 5)]
    books.gate.set()
    for future in (first, *others):
        future.result(WAIT_S)
    for number in range(5, 9):
        submitted(intake, request(span(number))).result(WAIT_S)
    intake.stop(WAIT_S)
    assert books.appends == [1, 3, 1, 1, 1, 1]
    assert pauses == [WINDOW_S]


def test_a_commit_is_bounded() -> None:
    books = GatedBooks()
    intake, _ = held_up(books)
    futures = [submitted(intake, request(span(number))) for number in range(2, 3 * MOST_TOGETHER)]
    books.gate.set()
    for future in futures:
        future.result(WAIT_S)
    intake.stop(WAIT_S)
    assert max(books.appends) == MOST_TOGETHER
    assert sum(books.appends) == len(futures) + 1


@pytest.mark.parametrize("broken", [disk_full, lambda: ValueError("a bug")], ids=["store", "bug"])
def test_an_error_reaches_all_that_wait_and_the_next_may_do_better(broken: Callable[[], Exception]) -> None:
    books = GatedBooks()
    books.broken = broken()
    intake, first = held_up(books)
    others = [submitted(intake, request(span(number))) for number in range(2, 7)]
    books.gate.set()
    for future in (first, *others):
        with pytest.raises(StoreError):
            future.result(WAIT_S)
    books.broken = None
    assert submitted(intake, request(span(9))).result(WAIT_S) is None
    intake.stop(WAIT_S)
    assert [len(entry.facts) for entry in books.entries] == [1]


def test_overloaded_when_too_much_waits() -> None:
    books = GatedBooks()
    intake, _ = held_up(books)
    waiting = [submitted(intake, request(span(number))) for number in range(2, 2 + MOST_WAITING)]
    with pytest.raises(OverloadedError) as caught:
        submitted(intake, request(span(9)))
    assert caught.value.hint
    books.gate.set()
    for future in waiting:
        future.result(WAIT_S)
    assert submitted(intake, request(span(9))).result(WAIT_S) is None
    intake.stop(WAIT_S)
    assert len(books.entries) == MOST_WAITING + 2


def test_stop_writes_what_waits_and_refuses_the_rest() -> None:
    books = GatedBooks()
    intake, first = held_up(books)
    others = [submitted(intake, request(span(number))) for number in range(2, 2 + MOST_TOGETHER + 5)]
    stopping = threading.Thread(target=intake.stop, args=(WAIT_S,))
    stopping.start()
    books.gate.set()
    stopping.join(WAIT_S)
    assert not stopping.is_alive()
    assert all(future.result(0) is None for future in (first, *others))
    assert len(books.entries) == 1 + len(others)
    with pytest.raises(OverloadedError):
        submitted(intake, request(span(1)))


def test_a_request_without_spans_needs_no_disk() -> None:
    books = MemoryBooks()
    intake = make(books)
    assert submitted(intake, request()).done()
    assert books.entries == []


def test_requests_without_llm_spans_are_journalled_for_their_links() -> None:
    books = MemoryBooks()
    intake = make(books)
    intake.start()
    submitted(intake, request(links=[link(1)])).result(WAIT_S)
    submitted(intake, request(rejected=2)).result(WAIT_S)
    intake.stop(WAIT_S)
    assert [(entry.spans, entry.rejected) for entry in books.entries] == [(1, 0), (2, 2)]


def test_a_span_without_facts_leaves_its_link() -> None:
    entry = journal_entry(
        request(span(2, parent=1, tokens=None), span(1, tokens=None), span(3, tokens=None, tenant="acme")),
        RECOGNISER,
        received_ns=NOW_NS,
        credential_tenant="owner",
    )
    assert entry.links == link(2, parent=1) + link(1)
    assert [(facts.tenant, facts.credential_tenant) for facts in entry.facts] == [("acme", "owner")]
    assert entry.spans == 3


def test_who_has_stopped_waiting_does_not_end_the_thread() -> None:
    books = GatedBooks()
    intake, first = held_up(books)
    assert first.cancel()  # a server that gave up, and cannot be told any more
    books.gate.set()
    submitted(intake, request(span(2))).result(WAIT_S)
    assert intake.problem == ""
    intake.stop(WAIT_S)


class ChokingBooks(MemoryBooks):
    """Cannot take spans with the id 7."""

    def append(self, entries: Sequence[JournalEntry]) -> None:
        if any(facts.span_id[-1] == 7 for entry in entries for facts in entry.facts):
            raise UnicodeEncodeError("utf-8", "", 0, 1, "of a kind never seen")
        super().append(entries)


def test_one_request_of_a_kind_never_seen_does_not_keep_others_out() -> None:
    intake = make(ChokingBooks())
    waiting = [submitted(intake, request(span(number))) for number in (6, 7, 8)]
    intake.start()
    assert [future.exception(WAIT_S) is None for future in waiting] == [True, False, True]
    intake.stop(WAIT_S)
