"""A line on a terminal that says how far a long command is."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from spanmeter.wire.files import STANDARD_INPUT, Piece

EVERY_S = 0.2
_NARROW = 40
"""Columns, where a terminal does not tell."""


def is_watched(out: TextIO) -> bool:
    """Whether a line can be rewritten there, and somebody may see it."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """Rewritten in place, gone at the end; nothing where it is not `shown`."""

    def __init__(self, out: TextIO, *, shown: bool) -> None:
        self._out = out
        self._shown = shown
        self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def tell(self, parts: Callable[[], Sequence[str]]) -> None:
        """Say these, if the last time is a while ago."""
        now_s = time.monotonic()
        if not self._shown or now_s - self._told_s < EVERY_S:
            return
        self._told_s = now_s
        self._out.write(f"\r{fitted(parts(), self._columns())}\x1b[K")
        self._out.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or _NARROW
        except OSError:
            return _NARROW


def fitted(parts: Sequence[str], columns: int) -> str:
    """The parts in one line, which must not wrap. What matters most stands first and last: where it is too narrow, the
    last but one goes."""
    left = list(parts)
    while len(line := ", ".join(left)) >= columns and len(left) > 1:
        del left[-2]
    return line[: max(0, columns - 1)]


class Watched(Line):
    """Bytes read, spans, events, rate and time left. The time is known where every file is one on disk: bytes read
    against bytes there. `counts` tells spans and events so far."""

    def __init__(
        self, paths: Sequence[str], out: TextIO, *, shown: bool, counts: Callable[[], tuple[int, int]]
    ) -> None:
        super().__init__(out, shown=shown)
        sizes = [_bytes_on_disk(path) for path in paths]
        self._whole = sum(sizes) if all(sizes) else 0
        self._counts = counts
        self._done = 0  # bytes of the files before this one
        self._position = 0
        self._path = ""
        self._began_s = time.monotonic()

    def through(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces, noticed as they are read."""
        for piece in pieces:
            if piece.path != self._path or piece.position < self._position:
                self._done += self._position
                self._path = piece.path
            self._position = piece.position
            self.tell_now()
            yield piece

    def tell_now(self) -> None:
        self.tell(lambda: self.parts(time.monotonic() - self._began_s))

    def parts(self, after_s: float) -> list[str]:
        """What there is to say `after_s` seconds."""
        read = self._done + self._position
        spans, events = self._counts()
        parts = [f"{read / 1e6:,.0f} MB", f"{spans:,} spans", f"{events:,} events", f"{read / 1e6 / after_s:,.1f} MB/s"]
        if read and self._whole >= read:
            parts[0] = f"{read / 1e6:,.0f} of {self._whole / 1e6:,.0f} MB"
            parts.append(_left(after_s, read, self._whole))
        return parts


class Counted(Line):
    """So many events of those there are, rate and time left."""

    def __init__(self, label: str, whole: int, out: TextIO, *, shown: bool) -> None:
        super().__init__(out, shown=shown)
        self._label = label
        self._whole = whole
        self._done = 0
        self._began_s = time.monotonic()

    def add(self, number: int) -> None:
        self._done += number
        self.tell(lambda: self.parts(time.monotonic() - self._began_s))

    def parts(self, after_s: float) -> list[str]:
        """What there is to say `after_s` seconds."""
        # More may come while they are passed.
        parts = [f"{self._label} {self._done:,} of {max(self._done, self._whole):,}"]
        parts.append(f"{self._done / after_s:,.0f} events/s")
        if self._done:
            parts.append(_left(after_s, self._done, max(self._done, self._whole)))
        return parts


def _left(after_s: float, done: int, whole: int) -> str:
    left_s = round(after_s * (whole - done) / done)
    return f"{left_s // 60}:{left_s % 60:02} left"


def _bytes_on_disk(path: str) -> int:
    """0 where it is no file, or cannot be asked: that is told when it is opened."""
    try:
        found = os.fstat(sys.stdin.fileno()) if path == STANDARD_INPUT else Path(path).stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
