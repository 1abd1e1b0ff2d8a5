"""The collector decides what `convert` decides, in whatever order, grouping and repetition the spans arrive."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from spanmeter.ledger.report import usage_rows
from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.assembler import Assembler
from spanmeter.pipeline.intake import journal_entry
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.span import LINK_BYTES, Span
from spanmeter.wire.request import DecodedRequest
from tests.corpus.cases import FOLDER, Bill, Case, bill, read_case, settle

QUIET_NS, MAX_NS, MEMORY_NS = 5_000_000_000, 60_000_000_000, 86_400_000_000_000
NAMES = [path.stem for path in sorted(FOLDER.glob("*.zip"))]


def pieces(case: Case) -> list[Span | bytes]:
    """Every span on its own: with attributes, or as a link."""
    found: list[Span | bytes] = []
    for request in [request.decoded() for request in case.requests()]:
        found += request.spans
        found += [request.links[at : at + LINK_BYTES] for at in range(0, len(request.links), LINK_BYTES)]
    return found


def request_of(parts: Sequence[Span | bytes]) -> DecodedRequest:
    spans = [part for part in parts if isinstance(part, Span)]
    links = b"".join(part for part in parts if isinstance(part, bytes))
    return DecodedRequest(spans=spans, links=links, span_count=len(parts))


def collect(case: Case, requests: Sequence[DecodedRequest], folder: Path, *, restart_after: int) -> Bill:
    """What the collector bills for requests that arrive within the quiet time of each other, with a restart between."""
    clock = ManualClock()
    recogniser = case.recogniser()
    database = Database.open(folder)
    try:
        journal, ledger = SqliteJournal(database), SqliteLedger(database)

        def assembler() -> Assembler:
            return Assembler(
                journal,
                ledger,
                clock=clock,
                rules=Rules(),
                quiet_ns=QUIET_NS,
                max_ns=MAX_NS,
                memory_ns=MEMORY_NS,
                deliver=True,
            )

        running = assembler()
        for at, request in enumerate(requests):
            journal.append([journal_entry(request, recogniser, received_ns=clock.now_ns())])
            running.step()
            clock.advance(min(1.0, 4.0 / len(requests)))
            if at == restart_after:
                running = assembler()
        clock.advance(MAX_NS / 1e9 + 1)
        while running.step():
            pass
        clock.advance(MAX_NS / 1e9 + 1)
        while running.step():
            pass
        assert journal.depth() == 0
        billed: Bill = Bill()
        for row in usage_rows(database):
            billed[row.tenant, row.token_class] += row.tokens
        return billed
    finally:
        database.close()


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_split_and_repeated(name: str, tmp_path: Path) -> None:
    case = read_case(FOLDER / f"{name}.zip")
    chance = random.Random(name)
    parts = pieces(case)
    parts += chance.sample(parts, k=len(parts) // 3)
    chance.shuffle(parts)
    requests = []
    while parts:
        size = chance.randint(1, 1 + len(parts) // 2)
        requests.append(request_of(parts[:size]))
        del parts[:size]
    found = collect(case, requests, tmp_path, restart_after=chance.randrange(len(requests) + 1))
    assert found == bill(settle(case))
