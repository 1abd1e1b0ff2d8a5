"""Between an event loop and the threads that work for it."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from spanmeter.receiver.turns import Turn

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

SMALL_BYTES = 512 * 1024
"""Bodies up to this size are decoded in the event loop: ten milliseconds at most, and a change of threads costs more
than most of them do. Larger ones are decoded in a thread, so that they do not keep the others waiting: in one, since
two of them take turns on one interpreter, each with its memory."""
COMMIT_TIMEOUT_S = 30.0
"""A commit that takes longer is not waited for: the client is told to send again, which is safe."""

Told = Callable[[Exception | None], None]
Result = TypeVar("Result")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where that is installed (`spanmeter[fast]`): with it a small request costs a tenth less."""
    loop: asyncio.AbstractEventLoop = asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="spanmeter-decoder"))
    return loop


class Commits:
    """Commits that another thread makes, awaited in an event loop: one wake-up of the loop for all that end together,
    one timer for all that wait. A concurrent future, asyncio.wrap_future and asyncio.wait_for would be a system call
    and a timer for each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._ended: deque[tuple[asyncio.Future[None], Exception | None]] = deque()
        self._is_woken = False
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()  # with the time at which each is late
        self._timer: asyncio.TimerHandle | None = None

    async def after(self, work: Callable[[bytes, Told], Result], body: bytes, turn: Turn, *, growth: int = 1) -> Result:
        """What `work` on `body` returns, once what it was given to call was called, from whichever thread. The turn
        ends, and the body is let go of, when the work is done. `growth`: how many times over a compressed body grows.
        Raises what that was called with, and `TimeoutError` where it is not called in time."""
        turn.arrived()
        commit: asyncio.Future[None] = self._loop.create_future()
        told = partial(self._end, commit)
        if len(body) * growth <= SMALL_BYTES:
            turn.end()  # first: the next arrives meanwhile
            result = work(body, told)
        else:
            result = await asyncio.to_thread(work, body, told)
            turn.end()
        del body
        if not commit.done():
            self._waiting.append((self._loop.time() + self._timeout_s, commit))
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout_s, self._give_up)
        await commit
        return result

    def _end(self, commit: "asyncio.Future[None]", error: Exception | None) -> None:
        self._ended.append((commit, error))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_woken = False  # first, so that what ends from now on wakes the loop again
        while self._ended:
            commit, error = self._ended.popleft()
            if commit.done():
                continue  # whoever waited has gone
            if error is None:
                commit.set_result(None)
            else:
                commit.set_exception(error)
                commit.exception()  # counts as seen: whoever asked may have gone while its body was read
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()

    def _give_up(self) -> None:
        now_s = self._loop.time()
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now_s):
            _, commit = self._waiting.popleft()
            if not commit.done():
                commit.set_exception(TimeoutError())
        self._timer = self._loop.call_at(self._waiting[0][0], self._give_up) if self._waiting else None
