"""Bringing a file's schema forward."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from spanmeter.errors import StoreError
from spanmeter.store.keys import call_identity, key_alone, key_of_call
from spanmeter.store.trouble import wait_on


def bring_forward(connection: sqlite3.Connection, path: Path, scripts: Sequence[str], *, until_s: float) -> None:
    """Run the scripts that the file has not seen, each in a transaction of its own. Never backward. Waits for others
    until then (monotonic clock)."""
    for function, arguments in ((call_identity, 1), (key_alone, 2), (key_of_call, 2)):
        connection.create_function(function.__name__, arguments, function, deterministic=True)
    connection.execute("PRAGMA foreign_keys=OFF")  # as sqlite.org/lang_altertable.html asks, section 7
    while not _one_step(connection, path, scripts, until_s=until_s):
        pass
    connection.execute("PRAGMA foreign_keys=ON")


def _one_step(connection: sqlite3.Connection, path: Path, scripts: Sequence[str], *, until_s: float) -> bool:
    """Whether nothing was left to do."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        wait_on(error, until_s)
        return False
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(scripts):
            raise StoreError(
                f"{path} has schema {version}, this spanmeter knows {len(scripts)}",
                hint="it was written by a newer spanmeter: install that, or use another SPANMETER_DATA_DIR",
            )
        if version < len(scripts):
            for statement in _statements(scripts[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return version == len(scripts)


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
