"""Room on disk: refuse new work long before a write would fail, so that what was taken can still be worked off."""

import shutil
from pathlib import Path

from spanmeter.clock import Clock
from spanmeter.errors import OverloadedError, StoreError

LOOK_EVERY_S = 0.5


class Space:
    """Watches a data folder. `min_free_bytes` must stay free on its disk; `max_bytes` is the most that the folder may
    take, 0 for no limit of its own. Looks at most every half second."""

    def __init__(self, folder: Path, *, min_free_bytes: int, max_bytes: int, clock: Clock) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._max_bytes = max_bytes
        self._clock = clock
        self._looked_s = float("-inf")
        self._problem = ""

    def check(self) -> None:
        """Raises `OverloadedError` while there is too little room: senders are asked to come again, nothing is lost."""
        if problem := self.problem():
            raise OverloadedError(problem, hint="free some space; deciding, delivering and pruning go on meanwhile")

    def problem(self) -> str:
        """What is short, empty if nothing is."""
        if self._clock.monotonic() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock.monotonic()
            self._problem = self._look()
        return self._problem

    def _look(self) -> str:
        try:
            free = shutil.disk_usage(self._folder).free
            taken = sum(file.stat().st_size for file in self._folder.iterdir()) if self._max_bytes else 0
        except OSError as error:
            raise StoreError(f"data folder {self._folder}: {error.strerror}") from error
        if free < self._min_free_bytes:
            kept = self._min_free_bytes // 2**20
            return f"{free // 2**20} MiB are free on the disk of {self._folder}, {kept} are kept free"
        if self._max_bytes and taken > self._max_bytes:
            return f"{self._folder} takes {taken // 2**20} MiB, {self._max_bytes // 2**20} are allowed"
        return ""
