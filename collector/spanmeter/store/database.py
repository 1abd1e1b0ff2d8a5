"""The data folder's two files: the books, and the journal of what was received and is not decided yet.

They are apart because who acknowledges a request must not wait for who decides on thousands of calls at once: SQLite
lets one transaction at a time write a file. Nothing has to change in both at once: what the books account for of a row
of the journal stands with the decision, so that a row may be there longer than it is needed.
"""

import functools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from spanmeter.errors import StoreError
from spanmeter.store.file import SqliteFile

log = logging.getLogger("spanmeter.store")

FILE_NAME = "spanmeter.db"
JOURNAL_NAME = "journal.db"
BOOKS_PAGE_BYTES = 8_192
"""A call costs 2 to 4 us less than with SQLite's 4,096 up to 400,000 of them, and the same with a million; with 16,384,
which a round's calls share even more of, it would cost more from there on. Measured while each key wrote a page of an
index of all."""
JOURNAL_PAGE_BYTES = 4_096
BOOKS_CACHE_KB = 12_288
JOURNAL_CACHE_KB = 4_096
"""What is appended is read once, some seconds later, by another connection: 8 MB would save nothing."""
_JOURNAL_APART = 6
"""From this schema of the books on there is a file of the journal."""


class Database(SqliteFile):
    """The books. `journal` is the other file."""

    def __init__(self, data_dir: Path, *, read_only: bool = False) -> None:
        super().__init__(
            data_dir / FILE_NAME,
            migrations=migrations,
            page_bytes=BOOKS_PAGE_BYTES,
            cache_kb=BOOKS_CACHE_KB,
            read_only=read_only,
        )
        self.journal = SqliteFile(
            data_dir / JOURNAL_NAME,
            migrations=journal_migrations,
            page_bytes=JOURNAL_PAGE_BYTES,
            cache_kb=JOURNAL_CACHE_KB,
            read_only=read_only,
        )

    @classmethod
    def open(cls, data_dir: Path) -> "Database":
        """Open the data folder's files, making and migrating them as needed; the folder is private to its owner.

        Raises `StoreError` with a hint where the folder or a file cannot be used.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"data folder {data_dir}: {error.strerror}",
                hint="set SPANMETER_DATA_DIR to a folder that can be written",
            ) from error
        database = cls(data_dir)
        try:
            if database.path.exists() and not database.journal.path.exists() and database._version() >= _JOURNAL_APART:
                log.warning(
                    "%s is gone: what was received and not decided until now is lost with it, unless it is put back",
                    database.journal.path,
                )
            database.journal.make()  # first: books of this schema without it say that it was removed
            database.make()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def open_existing(cls, data_dir: Path) -> "Database | None":
        """Open for reading only; None where nothing was ever stored. Raises `StoreError` where one cannot look."""
        database = cls(data_dir, read_only=True)
        try:
            if not database.path.exists():
                return None
            is_whole = database.journal.path.exists()
        except OSError as error:
            raise StoreError(
                f"data folder {data_dir}: {error.strerror}", hint="set SPANMETER_DATA_DIR to a folder that can be read"
            ) from error
        if not is_whole or not database.is_current or not database.journal.is_current:
            # Left by an older spanmeter, and nobody has written since the upgrade: its tables are not all there.
            database.close()
            cls.open(data_dir).close()
        return database

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads of this thread inside the block see one state of each file, of the journal no later one: what was
        decided between the two is accounted for in the books."""
        with self.journal.snapshot(), super().snapshot():
            yield

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self.journal.close()

    def before_fork(self, timeout_s: float) -> bool:
        """See `SqliteFile`; of both files. A snapshot is inside the journal first, so that is shut first."""
        until_s = time.monotonic() + timeout_s
        is_out = self.journal.before_fork(timeout_s)
        return super().before_fork(max(0.0, until_s - time.monotonic())) and is_out

    def after_fork(self) -> None:
        super().after_fork()
        self.journal.after_fork()


@functools.cache
def migrations() -> tuple[str, ...]:
    """Of the books, in order."""
    return _scripts("migrations")


@functools.cache
def journal_migrations() -> tuple[str, ...]:
    """Of the journal, in order."""
    return _scripts("journal_migrations")


def _scripts(folder: str) -> tuple[str, ...]:
    files = (resources.files(__package__) / folder).iterdir()
    return tuple(file.read_text() for file in sorted(files, key=lambda file: file.name) if file.name.endswith(".sql"))
