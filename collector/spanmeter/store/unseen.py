"""Which libraries processes use that nothing instruments there: kept for `status`, for some days."""

from collections.abc import Mapping
from typing import Final

from spanmeter.store.database import Database

KEPT_NS: Final = 7 * 86_400 * 1_000_000_000
MOST_ROWS: Final = 1_000


def keep_unseen(database: Database, *, process: str, program: str, libraries: Mapping[str, str], now_ns: int) -> None:
    """What `process` does not see now (library to version), instead of what it noted before; old rows go."""
    with database.transaction() as transaction:
        transaction.execute("unseen_forget", process)
        transaction.execute_many(
            "unseen_write", [(process, library, program, version, now_ns) for library, version in libraries.items()]
        )
        transaction.execute("unseen_prune", now_ns - KEPT_NS, MOST_ROWS - 1)
