"""Locks between processes on one data folder."""

import fcntl
import os
from pathlib import Path

from spanmeter.errors import StoreError


class FileLock:
    """A lock that the kernel frees when its process ends, however it ends; exclusive, or `shared` by its like.

    POSIX record locks (lockf), not flock: a forked child must not hold its parent's lock.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._file: int | None = None
        self._owner = 0

    @property
    def held(self) -> bool:
        """Whether this process holds it; false in a child forked while its parent did."""
        return self._file is not None and self._owner == os.getpid()

    def acquire(self) -> bool:
        """Take the lock if no other process has it; true if it is held now. Never waits."""
        if self.held:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"lock file {self._path}: {error.strerror}") from error
        try:
            fcntl.lockf(file, self._kind | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file, self._owner = file, os.getpid()
        return True

    def release(self) -> None:
        if self._file is not None and self._owner == os.getpid():
            os.close(self._file)
        self._file = None
