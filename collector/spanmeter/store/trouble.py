"""What can be wrong with a SQLite file, and what an operator can do."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spanmeter.errors import StoreBusyError, StoreError

WORKER_LOCK_NAME = "worker.lock"
"""Of the lock beside the files that is made by the first process that works on them."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
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


def wait_on(error: sqlite3.OperationalError, until_s: float) -> None:
    """Raises the error if the time is over, or if it is not that others are in the file. SQLite itself has
    waited a while."""
    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
        raise error


def gone(path: Path) -> StoreError:
    return StoreError(
        f"database {path}: the file was removed or replaced while it was in use",
        hint="put it back, or start spanmeter anew with what is there",
    )


def check_not_emptied(path: Path) -> None:
    """SQLite takes a file of no bytes for a new database: what was billed would be forgotten without a word."""
    try:
        emptied = path.stat().st_size == 0 and path.with_name(WORKER_LOCK_NAME).exists()
    except OSError:  # there is none, or opening it will say what is wrong
        return
    if emptied:
        raise StoreError(
            f"database {path}: the file is empty, and was not before",
            hint="restore a copy, or remove it to start anew: then what was in it is not known",
        )
