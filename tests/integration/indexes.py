"""What stands in the indexes of keys, beside the rows that they are of."""

import sqlite3
from contextlib import closing
from pathlib import Path

Indexed = list[tuple[bytes, int]]
"""Keys and the numbers of their rows, in order."""
KEYS = {"call": "key", "trace": "trace_id"}


def indexes(file: Path, table: str) -> tuple[Indexed, Indexed, Indexed]:
    """The table's rows, and what is in the index of what is new and in that of all."""
    with closing(sqlite3.connect(file)) as connection:
        key = KEYS[table]
        rows = connection.execute(f"SELECT {key}, seq FROM {table}")
        young, old = (connection.execute(f"SELECT {key}, {table} FROM {table}_{age}") for age in ("young", "old"))
        return sorted(rows), sorted(young), sorted(old)
