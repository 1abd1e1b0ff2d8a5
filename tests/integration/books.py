"""Assembly on a real file: a journal to append to, an assembler that can be killed, and the books it leaves."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.assembler import Assembler
from spanmeter.pipeline.intake import journal_entry
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.request import DecodedRequest
from tests.spans import SECOND_NS, entry

RECOGNISER = Recogniser(tenant_attributes=("tenant.id",))
QUIET_S, MAX_S, MEMORY_S = 5, 60, 3600


class Plant:
    """One data folder; `restart` does what kill -9 and a new start do."""

    def __init__(self, folder: Path, *, deliver: bool = True, clock: ManualClock | None = None) -> None:
        self.folder = folder
        self.clock = clock or ManualClock()
        self._deliver = deliver
        self._open()

    def _open(self) -> None:
        self.database = Database.open(self.folder)
        self.journal = SqliteJournal(self.database)
        self.assembler = Assembler(
            self.journal,
            SqliteLedger(self.database),
            clock=self.clock,
            rules=Rules(),
            quiet_ns=QUIET_S * SECOND_NS,
            max_ns=MAX_S * SECOND_NS,
            memory_ns=MEMORY_S * SECOND_NS,
            deliver=self._deliver,
        )

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self.database.close()

    def take(self, *spans: SpanFacts, links: Sequence[bytes] = ()) -> None:
        """A request arrives now."""
        self.journal.append([entry(*spans, links=links, received_ns=self.clock.now_ns())])

    def take_request(self, request: DecodedRequest) -> None:
        self.journal.append([journal_entry(request, RECOGNISER, received_ns=self.clock.now_ns())])

    def run(self, seconds: float = 0.0, *, then: Callable[[], None] = lambda: None) -> None:
        """Let time pass, half a second at a step; `then` after each."""
        for _ in range(round(seconds * 2)):
            self.settle()
            then()
            self.clock.advance(0.5)
        self.settle()

    def settle(self, *, close: bool = False) -> None:
        while self.assembler.step(close=close):
            pass

    def bodies(self) -> list[bytes]:
        return sorted(body for _, body in self.database.execute("event_read", 0, 1_000_000))

    def outcomes(self) -> dict[str, int]:
        """Spans by outcome."""
        found: dict[str, int] = {}
        for outcome, _, spans, _, _ in self.database.execute("outcome_read"):
            found[outcome] = found.get(outcome, 0) + spans
        return found

    def held(self) -> set[tuple[bytes, bytes]]:
        with closing(sqlite3.connect(self.database.path)) as connection:
            return set(connection.execute("SELECT trace_id, span_id FROM held"))

    def remembered(self) -> int:
        with closing(sqlite3.connect(self.database.path)) as connection:
            count: int = connection.execute("SELECT count(*) FROM trace").fetchone()[0]
            return count
