"""Turns to read large bodies: what is held of them in memory at once, however many are sent."""

import asyncio
from types import TracebackType
from typing import Self

AT_ONCE = 2
"""Bodies whose turn it is: one arrives while another is decoded. Each is held some three times over on its way."""
SLOW_S = 1.0
"""A body that takes longer to arrive lets others go beside it: a slow sender, or one that has gone without a word, must
not stop everybody. What is held of its body is what it sent."""


class Turns:
    """Of one event loop. Who waits is not read from, so that its sender waits, too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, at_once: int = AT_ONCE, slow_s: float = SLOW_S) -> None:
        self.loop = loop
        self.slow_s = slow_s
        self.free = asyncio.Semaphore(at_once)

    def turn(self) -> "Turn":
        return Turn(self)


class Turn:
    """Of one body. `take` waits for it; it ends with `end`, or at the end of a `with` block."""

    __slots__ = ("_late", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._late: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Not again before it has ended."""
        await self._turns.free.acquire()
        self._late = self._turns.loop.call_later(self._turns.slow_s, self.end)

    def arrived(self) -> None:
        """The body is there: from now on nobody waits for its sender."""
        if self._late is not None:
            self._late.cancel()

    def end(self) -> None:
        """Nothing where it was not taken, or has ended."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
            self._turns.free.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
