"""The books that the contracts of journal and ledger are checked on, each with what a test needs beyond them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from spanmeter.store.database import Database
from spanmeter.store.filing import A_SHARE, FEWEST_SHARES, file_keys
from spanmeter.store.journal import Journal, SqliteJournal
from spanmeter.store.ledger import Ledger, SqliteLedger, Tally
from spanmeter.usage.outcome import Outcome, Reason
from tests.unit.store.books import MemoryBooks


class Rig(Protocol):
    """Books under test; `restart` does what kill -9 and a restart do."""

    @property
    def journal(self) -> Journal: ...

    @property
    def ledger(self) -> Ledger: ...

    def restart(self) -> None: ...

    def bodies(self) -> list[bytes]: ...

    def tallies(self) -> dict[tuple[Outcome, Reason], Tally]: ...

    def held(self) -> set[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class MemoryRig:
    def __init__(self, folder: Path) -> None:
        self._books = MemoryBooks()

    @property
    def journal(self) -> Journal:
        return self._books

    @property
    def ledger(self) -> Ledger:
        return self._books

    def restart(self) -> None:
        """Memory that outlives its process: there is nothing to do."""

    def bodies(self) -> list[bytes]:
        return self._books.bodies

    def tallies(self) -> dict[tuple[Outcome, Reason], Tally]:
        return {what: amount for what, amount in self._books.tallies.items() if amount.spans}

    def held(self) -> set[tuple[bytes, bytes]]:
        return set(self._books.held)

    def close(self) -> None:
        """Nothing is open."""


class SqliteRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()

    def _open(self) -> None:
        self.database = Database.open(self._folder)
        self._journal = SqliteJournal(self.database)
        self._ledger = SqliteLedger(self.database)

    @property
    def journal(self) -> Journal:
        return self._journal

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def restart(self) -> None:
        self.database.close()
        self._open()

    def bodies(self) -> list[bytes]:
        return [body for _, body in self.database.execute("event_read", 0, 1_000_000)]

    def tallies(self) -> dict[tuple[Outcome, Reason], Tally]:
        return tallies(self.database)

    def held(self) -> set[tuple[bytes, bytes]]:
        return held(self.database)

    def close(self) -> None:
        self.database.close()


class FiledRig(SqliteRig):
    """What was new is in the old indexes before anybody asks again."""

    @property
    def ledger(self) -> Ledger:
        with self.database.transaction() as transaction:
            for of in ("call", "trace"):
                file_keys(transaction, of, 0, FEWEST_SHARES * A_SHARE)
        return super().ledger


def tallies(database: Database) -> dict[tuple[Outcome, Reason], Tally]:
    return {
        (Outcome(outcome), Reason(reason)): Tally(spans=spans, input_tokens=inputs, output_tokens=outputs)
        for outcome, reason, spans, inputs, outputs in database.execute("outcome_read")
    }


def held(database: Database) -> set[tuple[bytes, bytes]]:
    """No query reads them all; the table's key is what matters here."""
    with closing(sqlite3.connect(database.path)) as connection:
        return set(connection.execute("SELECT trace_id, span_id FROM held"))


# Each is called with a folder of its own.
RIGS: list[Callable[[Path], Rig]] = [MemoryRig, SqliteRig, FiledRig]
