"""A gate for the threads of one process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many may be inside at once, until it is shut; then it waits for them, and others wait for it."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside = threading.local()
        self._count = 0
        self._shut = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        depth = getattr(self._inside, "depth", 0)
        if not depth:  # who is inside already may go further in: a read within a snapshot
            with self._change:
                while self._shut:
                    self._change.wait()
                self._count += 1
        self._inside.depth = depth + 1
        try:
            yield
        finally:
            self._inside.depth = depth
            if not depth:
                with self._change:
                    self._count -= 1
                    self._change.notify_all()

    def shut(self, timeout_s: float) -> bool:
        """Whether everybody was out in time; it is shut in any case."""
        with self._change:
            self._shut = True
            return self._change.wait_for(lambda: not self._count, timeout_s)

    def open(self) -> None:
        with self._change:
            self._shut = False
            self._change.notify_all()
