"""A line on a terminal that says how far a long command is."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from spanmeter.wire.files import STANDARD_INPUT, Piece

EVERY_S = 0.2


class Watched:
    """Bytes read, spans, events, rate and time left, rewritten in place; nothing where it is not `shown`.

    The time left is known where every file is one on disk: bytes read against bytes there.
    """

    def __init__(self, paths: Sequence[str], out: TextIO, *, shown: bool) -> None:
        self._out = out
        self._shown = shown
        on_disk = all(path != STANDARD_INPUT and Path(path).is_file() for path in paths)
        self._whole = sum(Path(path).stat().st_size for path in paths) if on_disk else 0
        self._done = 0  # bytes of the files before this one
        self._position = 0
        self._path = ""
        self._spans = self._events = 0
        self._began_s = self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def through(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces, noticed as they are read."""
        for piece in pieces:
            if piece.path != self._path or piece.position < self._position:
                self._done += self._position
                self._path = piece.path
            self._position = piece.position
            self._tell()
            yield piece

    def decided(self, *, spans: int, events: int) -> None:
        self._spans, self._events = spans, events
        self._tell()

    def _tell(self) -> None:
        now_s = time.monotonic()
        if not self._shown or now_s - self._told_s < EVERY_S:
            return
        self._told_s = now_s
        self._out.write(f"\r{self.line(now_s - self._began_s)}\x1b[K")
        self._out.flush()

    def line(self, after_s: float) -> str:
        """What there is to say `after_s` seconds."""
        read = self._done + self._position
        parts = [f"{read / 1e6:,.0f} MB", f"{self._spans:,} spans", f"{self._events:,} events"]
        if after_s > 0:
            parts.append(f"{read / 1e6 / after_s:,.1f} MB/s")
        if read and self._whole >= read:
            parts[0] = f"{read / 1e6:,.0f} of {self._whole / 1e6:,.0f} MB"
            left_s = round(after_s * (self._whole - read) / read)
            parts.append(f"{left_s // 60}:{left_s % 60:02} left")
        return ", ".join(parts)
