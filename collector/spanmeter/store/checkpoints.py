"""Copying the write-ahead log into the file, beside the commits instead of inside one of them."""

import logging
import threading

from spanmeter.clock import Clock
from spanmeter.errors import StoreError
from spanmeter.logs import Complaints
from spanmeter.store.file import SqliteFile

log = logging.getLogger("spanmeter.store")

EVERY_S = 1.0
"""A second of much work is some 15 MB, which take 50 ms of a disk that nobody waits for."""


class Checkpoints:
    """A thread of the one process that serves, for the journal. Without it SQLite does the same inside whichever commit
    finds the log long (`CHECKPOINT_PAGES`): 50 to 100 ms, for which every acknowledgement would wait.
    """

    def __init__(self, file: SqliteFile, *, clock: Clock, every_s: float = EVERY_S) -> None:
        self._file = file
        self._every_s = every_s
        self._stopping = threading.Event()
        self._complaints = Complaints(log, clock=clock)
        self._thread = threading.Thread(target=self._run, name="spanmeter-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """At most once. What is in the log then is as durable there."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._file.checkpoint()
            except StoreError as error:  # commits go on, and meet the same or not
                self._complaints.tell(logging.WARNING, "checkpoint: %s", error)
            except Exception as error:  # noqa: BLE001 - the thread must live
                self._complaints.tell(logging.WARNING, "checkpoint failed", error=error)
