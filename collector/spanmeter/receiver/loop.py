"""Between an event loop and the threads that work for it."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from spanmeter.wire.request import DecodedRequest

SMALL_BYTES = 512 * 1024
"""Bodies up to this size are decoded in the event loop: ten milliseconds at most, and a change of threads costs more
than most of them do. Larger ones are decoded in a thread, so that they do not keep the others waiting."""


async def decoded_by_size(decode: Callable[[], DecodedRequest], size: int) -> DecodedRequest:
    return decode() if size <= SMALL_BYTES else await asyncio.to_thread(decode)


class Arrivals:
    """Futures that another thread ends, awaited in an event loop: one wake-up of the loop for all that end together.

    asyncio.wrap_future wakes the loop by a system call for each, and cancels the other thread's future when whoever
    waits for it goes away: here a commit that others wait for too.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: deque[tuple[asyncio.Future[None], Future[None]]] = deque()
        self._is_woken = False

    def of(self, future: "Future[None]") -> "asyncio.Future[None]":
        """Ends when `future` does, in the loop. To be called in the loop."""
        awaited: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(lambda ended: self._end(awaited, ended))
        return awaited

    def _end(self, awaited: "asyncio.Future[None]", future: "Future[None]") -> None:
        self._ended.append((awaited, future))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_woken = False  # first, so that what ends from now on wakes the loop again
        while self._ended:
            awaited, future = self._ended.popleft()
            if awaited.done():
                continue  # whoever waited has gone
            error = future.exception()
            if error is None:
                awaited.set_result(None)
            else:
                awaited.set_exception(error)
