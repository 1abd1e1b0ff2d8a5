"""The SQLite file: opening, migrating, transactions. Every statement is a named query of queries.sql."""

import functools
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from spanmeter.errors import StoreBusyError, StoreError
from spanmeter.store.gate import Gate
from spanmeter.store.keys import call_identity, key_alone, key_of_call

FILE_NAME = "spanmeter.db"
WORKER_LOCK_NAME = "worker.lock"
"""Of the lock beside the database that is made by the first process that works on it."""
BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for those of other processes."""
TURN_MS = 50
"""How long at a time it waits inside SQLite, and so how long a fork may have to wait for it."""
CHECKPOINT_PAGES = 8_000
"""The write-ahead log is copied into the file by the commit that finds it grown to this (32 MB), where nobody did so
before (`store.checkpoints`)."""
CACHE_KB = 16_384
"""Of each connection, if it needs so much."""


class Database:
    """One file in WAL mode with synchronous=FULL: a transaction that has returned survives kill -9 and power loss, and
    is in the file that has the name: one that was removed or replaced meanwhile is an error, and is not made anew.

    Writers of this process take turns on a lock, those of other processes on SQLite's own. They share one connection:
    SQLite forgets the pages that it has at hand when another connection has written. To read, each thread has one of
    its own. Connections are closed by `close`, from whichever thread.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._log: tuple[int, ...] | None = None  # the write-ahead log that the writers have open
        self._registry_lock = threading.Lock()
        self._gate = Gate()
        self._mode = "ro" if read_only else "rw"
        self._file: tuple[int, ...] | None = None

    @classmethod
    def open(cls, data_dir: Path) -> "Database":
        """Open the data folder's database, making and migrating it as needed; the folder is private to its owner.

        Raises `StoreError` with a hint where the folder or file cannot be used.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"data folder {data_dir}: {error.strerror}",
                hint="set SPANMETER_DATA_DIR to a folder that can be written",
            ) from error
        database = cls(data_dir / FILE_NAME)
        _check_not_emptied(database.path)
        try:
            database._mode = "rwc"
            database._migrate()
            database._mode = "rw"
            database._file = _identity(str(database.path))
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def open_existing(cls, data_dir: Path) -> "Database | None":
        """Open for reading only; None where nothing was ever stored. Raises `StoreError` where one cannot look."""
        path = data_dir / FILE_NAME
        try:
            if not path.exists():
                return None
        except OSError as error:
            raise StoreError(
                f"data folder {data_dir}: {error.strerror}", hint="set SPANMETER_DATA_DIR to a folder that can be read"
            ) from error
        database = cls(path, read_only=True)
        if database._version() < len(migrations()):
            # Left by an older spanmeter, and nobody has written since the upgrade: its tables are not all there.
            database.close()
            cls.open(data_dir).close()
        return database

    def execute(self, name: str, *parameters: object, **named: object) -> list[Any]:
        """All rows of one query, on this thread's connection."""
        return self._execute(self._connection, name, named or parameters)

    def execute_in_turn(self, name: str, *parameters: object, **named: object) -> list[Any]:
        """The same for short reads of what was just written: this waits for writers, and has their pages at hand. Not
        to be called inside a transaction."""
        with self._write_lock:
            return self._execute(self._writing_connection, name, named or parameters)

    def _execute(self, connection: Callable[[], sqlite3.Connection], name: str, parameters: Any) -> list[Any]:
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        with _translated(self.path):
            while True:
                try:
                    with self._gate.entered():
                        return connection().execute(queries()[name], parameters).fetchall()
                except sqlite3.OperationalError as error:  # another process opens or closes the file
                    _wait_on(error, until_s)

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """A write transaction, durable when the block has ended; rolled back if it raises."""
        with self._write_lock, ExitStack() as inside, _translated(self.path):
            connection = self._begin(inside)
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._check_place()

    def _begin(self, inside: ExitStack) -> sqlite3.Connection:
        """Begin a write transaction, `inside` the gate; out of it between two turns of waiting, so that a fork may."""
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            with ExitStack() as turn:
                turn.enter_context(self._gate.entered())
                connection = self._writing_connection()
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    _wait_on(error, until_s)
                    continue
                inside.push(turn.pop_all())
                return connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads of this thread inside the block see one state of the file."""
        with self._gate.entered(), _translated(self.path):
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, on this thread's connection: nearly all of it while writers go on,
        then, in their turn, the little that came meanwhile, so that the log can begin anew. Nothing is waited for
        where others are at it, or still read what was before: it is tried again at the next time."""
        with self._gate.entered(), _translated(self.path):
            connection = self._connection()
            for mode in ("PASSIVE", "FULL"):
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

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
        with self._gate.entered(), _translated(self.path):
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
        raise StoreError(
            f"database {self.path}: the file was removed or replaced while it was in use",
            hint="put it back, or start spanmeter anew with what is there",
        )

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
            self._writer = self._registered()
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
            _enter_wal(connection)
            connection.execute("PRAGMA synchronous=FULL")
            # A round of decisions touches more pages than SQLite's 1,000, and would copy all of them at every commit.
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KB}")
            # Some distributions build SQLite so that it overwrites what is deleted; there is no text of users in here.
            connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self) -> None:
        """Bring the schema forward, each migration in a transaction of its own. Never backward."""
        with self._write_lock, _translated(self.path):
            connection = self._writing_connection()
            self.path.chmod(0o600)
            for function, arguments in ((call_identity, 1), (key_alone, 2), (key_of_call, 2)):
                connection.create_function(function.__name__, arguments, function, deterministic=True)
            connection.execute("PRAGMA foreign_keys=OFF")  # as sqlite.org/lang_altertable.html asks, section 7
            until_s = time.monotonic() + BUSY_TIMEOUT_S
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    _wait_on(error, until_s)
                    continue
                try:
                    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
                    if version > len(migrations()):
                        raise StoreError(
                            f"{self.path} has schema {version}, this spanmeter knows {len(migrations())}",
                            hint="it was written by a newer spanmeter: install that, or use another SPANMETER_DATA_DIR",
                        )
                    if version == len(migrations()):
                        connection.execute("COMMIT")
                        connection.execute("PRAGMA foreign_keys=ON")
                        return
                    for statement in _statements(migrations()[version]):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={version + 1}")
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise


def _wait_on(error: sqlite3.OperationalError, until_s: float) -> None:
    """Raises the error if the time is over, or if it is not that others are in the file. SQLite waited `TURN_MS`."""
    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
        raise error


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Several processes that open a new file at once refuse each other here, and SQLite does not ask its busy handler:
    so they try again."""
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            _wait_on(error, until_s)
            time.sleep(0.01)
        else:
            return


class Transaction:
    """Statements inside a write transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, name: str, *parameters: object) -> sqlite3.Cursor:
        return self._connection.execute(queries()[name], parameters)

    def execute_many(self, name: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run one statement for each row; how many rows it changed in all."""
        return self._connection.executemany(queries()[name], rows).rowcount if rows else 0


def _check_not_emptied(path: Path) -> None:
    """SQLite takes a file of no bytes for a new database: what was billed would be forgotten without a word."""
    try:
        emptied = path.stat().st_size == 0 and path.with_name(WORKER_LOCK_NAME).exists()
    except OSError:  # there is none, or opening it will say what is wrong
        return
    if emptied:
        raise StoreError(
            f"database {path}: the file is empty, and was not before",
            hint="restore a copy, or remove it to start anew: then what was billed before is not known",
        )


def _identity(name: str) -> tuple[int, ...]:
    found = os.stat(name)  # noqa: PTH116 - at every commit: a Path costs as much again
    return found.st_dev, found.st_ino


@functools.cache
def queries() -> dict[str, str]:
    """Name to text of every query in queries.sql."""
    parts = re.split(
        r"^-- name: (\w+)\n", (resources.files(__package__) / "queries.sql").read_text(), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@functools.cache
def migrations() -> tuple[str, ...]:
    """The migrations' texts in order; the schema's version is how many have been run."""
    folder = resources.files(__package__) / "migrations"
    return tuple(
        file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name.endswith(".sql")
    )


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, with what an operator can do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        text = f"database {path}: {error}"
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusyError(text, hint="another process is writing; it is tried again") from error
        hints = {
            sqlite3.SQLITE_FULL: "the disk is full: free some space, nothing was acknowledged",
            sqlite3.SQLITE_READONLY: "the file or its folder cannot be written: mend its permissions",
            sqlite3.SQLITE_CANTOPEN: "the file or its folder cannot be opened: mend its permissions",
            sqlite3.SQLITE_CORRUPT: "the file is damaged: move it aside, keep it, and restore a copy",
            sqlite3.SQLITE_NOTADB: "the file is no database: move it aside, keep it, and restore a copy",
            sqlite3.SQLITE_IOERR: "the disk failed or is full: see the system's log",
        }
        raise StoreError(text, hint=hints.get(code)) from error
