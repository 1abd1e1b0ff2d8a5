"""Commits awaited in an event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from spanmeter.errors import StoreError
from spanmeter.receiver.loop import SMALL_BYTES, Arrivals, decoded_by_size
from spanmeter.wire.request import DecodedRequest


class CountedLoop:
    """An event loop that counts how often another thread wakes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.woken = 0

    def create_future(self) -> "asyncio.Future[None]":
        return self._loop.create_future()

    def call_soon_threadsafe(self, callback: Callable[[], Any]) -> None:
        self.woken += 1
        self._loop.call_soon_threadsafe(callback)


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def end(commits: list[Future[None]]) -> None:
    for commit in commits:
        commit.set_result(None)


def test_many_that_end_together_wake_the_loop_once() -> None:
    async def run() -> None:
        loop = CountedLoop(asyncio.get_running_loop())
        arrivals = Arrivals(loop)  # type: ignore[arg-type]
        commits: list[Future[None]] = [Future() for _ in range(50)]
        awaited = [arrivals.of(commit) for commit in commits]
        in_a_thread(lambda: end(commits))
        await asyncio.wait_for(asyncio.gather(*awaited), 10)
        assert loop.woken == 1
        late: Future[None] = Future()
        waiting = arrivals.of(late)
        in_a_thread(lambda: late.set_result(None))
        await asyncio.wait_for(waiting, 10)
        assert loop.woken == 2

    asyncio.run(run())


def test_what_has_ended_before_is_told() -> None:
    async def run() -> None:
        commit: Future[None] = Future()
        commit.set_result(None)
        await asyncio.wait_for(Arrivals(asyncio.get_running_loop()).of(commit), 10)

    asyncio.run(run())


def test_an_error_is_raised_where_it_is_awaited() -> None:
    async def run() -> None:
        commit: Future[None] = Future()
        waiting = Arrivals(asyncio.get_running_loop()).of(commit)
        in_a_thread(lambda: commit.set_exception(StoreError("disk full")))
        with pytest.raises(StoreError, match="disk full"):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(run())


def test_who_gives_up_cancels_nothing_and_keeps_nobody_waiting() -> None:
    async def run() -> None:
        arrivals = Arrivals(asyncio.get_running_loop())
        commits: list[Future[None]] = [Future(), Future()]
        gone, waiting = (arrivals.of(commit) for commit in commits)
        gone.cancel()
        assert not commits[0].cancelled()
        in_a_thread(lambda: end(commits))
        await asyncio.wait_for(waiting, 10)

    asyncio.run(run())


@pytest.mark.parametrize(("size", "is_here"), [(SMALL_BYTES, True), (SMALL_BYTES + 1, False)])
def test_large_bodies_are_decoded_in_a_thread(size: int, is_here: bool) -> None:
    where: list[bool] = []

    def decode() -> DecodedRequest:
        where.append(threading.current_thread() is threading.main_thread())
        return DecodedRequest(span_count=3)

    assert asyncio.run(decoded_by_size(decode, size)).span_count == 3
    assert where == [is_here]
