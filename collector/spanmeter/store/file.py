"""A SQLite file: its connections, reads and transactions."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from spanmeter.store.gate import Gate
from spanmeter.store.schema import bring_forward
from spanmeter.store.statements import Transaction, queries
from spanmeter.store.trouble import check_not_emptied, gone, translated, wait_on

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for those of other processes."""
TURN_MS = 50
"""How long at a time it waits inside SQLite, and so how long a fork may have to wait for it."""
CHECKPOINT_PAGES = 8_000
"""The write-ahead log is copied into the file by the commit that finds it grown to this (32 MB of the journal, 64 of
the books), where nobody did so before (`store.checkpoints`)."""


class SqliteFile:
    """One file in WAL mode with synchronous=FULL: a transaction that has returned survives kill -9 and power loss, and
    is in the file that has the name: one that was removed or replaced meanwhile is an error, and is not made anew.

    Writers of this process take turns on a lock, those of other processes on SQLite's own. They share one connection:
    SQLite forgets the pages that it has at hand when another connection has written. To read, each thread has one of
    its own. Connections are closed by `close`, from whichever thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        migrations: Callable[[], Sequence[str]],
        page_bytes: int,
        cache_kb: int,
        read_only: bool = False,
    ) -> None:
        """`migrations` are scripts in order; the schema's version is how many have been run. `page_bytes` is for a file
        that is made; `cache_kb` is what each connection keeps at hand, if it needs so much."""
        self.path = path
        self._migrations = migrations
        self._page_bytes = page_bytes
        self._cache_kb = cache_kb
        self._read_only = read_only
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._checks_references = True  # of the writers' connection
        self._log: tuple[int, ...] | None = None  # the write-ahead log that the writers have open
        self._registry_lock = threading.Lock()
        self._gate = Gate()
        self._mode = "ro" if read_only else "rw"
        self._file: tuple[int, ...] | None = None

    def make(self) -> None:
        """Make the file, and bring it forward, as needed. Raises `StoreError` with a hint where it cannot be used."""
        check_not_emptied(self.path)
        try:
            self._mode = "rwc"
            with self._write_lock, translated(self.path):
                connection = self._writing_connection()
                self.path.chmod(0o600)
                bring_forward(connection, self.path, self._migrations(), until_s=time.monotonic() + BUSY_TIMEOUT_S)
            self._mode = "rw"
            self._file = _identity(str(self.path))
        except BaseException:
            self.close()
            raise

    @property
    def is_current(self) -> bool:
        """Whether its schema is this version's."""
        return self._version() >= len(self._migrations())

    def execute(self, name: str, *parameters: object, **named: object) -> list[Any]:
        """All rows of one query, on this thread's connection."""
        return self._execute(self._connection, name, named or parameters)

    def execute_in_turn(self, name: str, *parameters: object, **named: object) -> list[Any]:
        """The same for short reads of what was just written: this waits for writers, and has their pages at hand; in a
        snapshot it reads that. Not to be called inside a transaction."""
        own: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if own is not None and own.in_transaction:
            return self.execute(name, *parameters, **named)
        with self._write_lock:
            return self._execute(self._writing_connection, name, named or parameters)

    def _execute(self, connection: Callable[[], sqlite3.Connection], name: str, parameters: Any) -> list[Any]:
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        with translated(self.path):
            while True:
                try:
                    with self._gate.entered():
                        return connection().execute(queries()[name], parameters).fetchall()
                except sqlite3.OperationalError as error:  # another process opens or closes the file
                    wait_on(error, until_s)

    @contextmanager
    def transaction(self, *, checks_references: bool = True) -> Iterator["Transaction"]:
        """A write transaction, durable when the block has ended; rolled back if it raises. Without `checks_references`
        it must delete nothing that others refer to, and refer to nothing but what it finds or makes itself: to look
        each of these up is a twentieth of what a call costs."""
        with self._write_lock, ExitStack() as inside, translated(self.path):
            connection = self._begin(inside, checks_references=checks_references)
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._check_place()

    def _begin(self, inside: ExitStack, *, checks_references: bool) -> sqlite3.Connection:
        """Begin a write transaction, `inside` the gate; out of it between two turns of waiting, so that a fork may."""
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            with ExitStack() as turn:
                turn.enter_context(self._gate.entered())
                connection = self._writing_connection()
                if checks_references is not self._checks_references:
                    connection.execute(f"PRAGMA foreign_keys={checks_references:d}")
                    self._checks_references = checks_references
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    wait_on(error, until_s)
                    continue
                inside.push(turn.pop_all())
                return connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads of this thread inside the block see one state of the file."""
        with self._gate.entered(), translated(self.path):
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                connection.execute(
                    "SELECT count(*) FROM sqlite_master"
                ).fetchone()  # from now on, not from the first read
                yield
            finally:
                connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, on this thread's connection: nearly all of it while writers go on,
        then, in their turn, the little that came meanwhile, so that the log can begin anew. Nothing is waited for
        where others are at it, or still read what was before: it is tried again at the next time."""
        with self._gate.entered(), translated(self.path):
            connection = self._connection()
            for mode in ("PASSIVE", "FULL"):
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

    def check_there(self) -> None:
        """Raises StoreError if the file that was made or opened first has no longer the name."""
        try:
            found = _identity(str(self.path))
        except OSError:
            found = ()
        if found != self._file:
            raise gone(self.path)

    def close(self) -> None:
        """Close all connections."""
        with self._registry_lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()
        self._writer = self._log = None

    def before_fork(self, timeout_s: float) -> bool:
        """Wait until nobody is in the file, keep everybody out, and close it. False where somebody still is: then a
        child must never open this file.

        A forked child inherits open files but not SQLite's locks on them: it would believe that it holds what it does
        not, and others would delete the write-ahead log under it (sqlite.org/howtocorrupt.html, section 2.6).
        """
        if not self._gate.shut(timeout_s):
            return False
        self.close()
        return True

    def after_fork(self) -> None:
        """In the parent: open again, at the next use. A child makes a `Database` of its own."""
        self._gate.open()

    def _version(self) -> int:
        with self._gate.entered(), translated(self.path):
            version: int = self._connection().execute("PRAGMA user_version").fetchone()[0]
            return version

    def _check_place(self) -> None:
        """Raises StoreError if what was written is not where the next process will look for it: a file that was deleted
        can be written as long as it is open. The connection is given up then. The database has to be the one that was
        opened first; its log may be another for another connection."""
        try:
            file, log = (_identity(name) for name in (str(self.path), f"{self.path}-wal"))
        except OSError:
            file, log = (), ()
        if self._file is None:
            self._file = file
        known_log = self._log or log
        if file and file == self._file and log == known_log:
            self._log = log
            return
        self._give_up_writer()
        raise gone(self.path)

    def _give_up_writer(self) -> None:
        with self._registry_lock:
            if self._writer is not None:
                self._connections.remove(self._writer)
                self._writer.close()
        self._writer = self._log = None

    def _connection(self) -> sqlite3.Connection:
        """This thread's own, to read."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._registered()
        return connection

    def _writing_connection(self) -> sqlite3.Connection:
        """For who has the lock of the writers."""
        if self._writer is None:
            self._writer, self._checks_references = self._registered(), True
        return self._writer

    def _registered(self) -> sqlite3.Connection:
        connection = self._connect()
        with self._registry_lock:
            self._connections.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={self._mode}",
            uri=True,
            timeout=TURN_MS / 1000,
            isolation_level=None,
            check_same_thread=False,  # close() may run in another thread than use did
        )
        if not self._read_only:
            connection.execute(f"PRAGMA page_size={self._page_bytes}")
            _enter_wal(connection)
            connection.execute("PRAGMA synchronous=FULL")
            # A round of decisions touches more pages than SQLite's 1,000, and would copy all of them at every commit.
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size=-{self._cache_kb}")
            # Some distributions build SQLite so that it overwrites what is deleted; there is no text of users in here.
            connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Several processes that open a new file at once refuse each other here, and SQLite does not ask its busy handler:
    so they try again."""
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            wait_on(error, until_s)
            time.sleep(0.01)
        else:
            return


def _identity(name: str) -> tuple[int, ...]:
    found = os.stat(name)  # noqa: PTH116 - at every commit: a Path costs as much again
    return found.st_dev, found.st_ino
