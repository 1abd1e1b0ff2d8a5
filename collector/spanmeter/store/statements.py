"""Statements, each a named query of queries.sql."""

import functools
import re
import sqlite3
from collections.abc import Sequence
from importlib import resources
from itertools import chain

ROWS_AT_ONCE = 100
"""Of many rows one statement takes so many: half as dear as one by one, and the interpreter is given away, and taken
back from threads that acknowledge, once for all of them. With 1,000 it costs the same."""
MADE_AT_ONCE = 400
"""Of so many calls, or traces, the rows are made, and written before the next ones are: those of a whole round are
never in memory."""
MOST_VALUES = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER


class Transaction:
    """Statements inside a write transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, name: str, *parameters: object) -> sqlite3.Cursor:
        return self._connection.execute(queries()[name], parameters)

    def execute_many(self, name: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run one statement for each row; how many rows it changed in all."""
        changed = at = 0
        if len(rows) >= ROWS_AT_ONCE and len(rows[0]) * ROWS_AT_ONCE <= self._connection.getlimit(MOST_VALUES):
            wide = _for_many(name, ROWS_AT_ONCE)
            while wide and len(rows) - at >= ROWS_AT_ONCE:
                values = tuple(chain.from_iterable(rows[at : at + ROWS_AT_ONCE]))
                changed += self._connection.execute(wide, values).rowcount
                at += ROWS_AT_ONCE
        if at < len(rows):
            changed += self._connection.executemany(queries()[name], rows[at:]).rowcount
        return changed


@functools.cache
def _for_many(name: str, rows: int) -> str:
    """The statement with so many rows of values; empty where it is none that takes one."""
    before, word, row = queries()[name].partition(" VALUES (")
    row, _, after = row.partition(")")
    return f"{before}{word}{row})" + f", ({row})" * (rows - 1) + after if word else ""


@functools.cache
def queries() -> dict[str, str]:
    """Name to text of every query in queries.sql."""
    parts = re.split(
        r"^-- name: (\w+)\n", (resources.files(__package__) / "queries.sql").read_text(), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))
