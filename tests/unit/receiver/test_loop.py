"""Commits awaited in an event loop."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from spanmeter.errors import StoreError
from spanmeter.receiver import loop
from spanmeter.receiver.loop import SMALL_BYTES, Commits, Told
from spanmeter.receiver.turns import Turn, Turns

SMALL = b"x"


def turn() -> Turn:
    return Turns(asyncio.get_running_loop()).turn()


class CountedLoop:
    """An event loop that counts how often another thread wakes it, and how many timers are set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.woken = self.timers = 0

    def create_future(self) -> "asyncio.Future[None]":
        return self._loop.create_future()

    def call_soon_threadsafe(self, callback: Callable[[], Any]) -> None:
        self.woken += 1
        self._loop.call_soon_threadsafe(callback)

    def time(self) -> float:
        return self._loop.time()

    def call_later(self, delay_s: float, callback: Callable[[], Any]) -> asyncio.TimerHandle:
        self.timers += 1
        return self._loop.call_later(delay_s, callback)


class Requests:
    """Requests whose commits have not ended yet."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self.told: list[Told] = []

    def work(self, body: bytes, told: Told) -> int:
        self.told.append(told)
        return len(self.told)

    async def begun(self, count: int) -> "list[asyncio.Task[int]]":
        """So many, each with its number as the result."""
        tasks = [asyncio.create_task(self._commits.after(self.work, SMALL, turn())) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks

    def end_in_a_thread(self, error: Exception | None = None) -> None:
        def end() -> None:
            for told in self.told:
                told(error)

        thread = threading.Thread(target=end)
        thread.start()
        thread.join()


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs in the event loop of the servers, with uvloop and without."""
    if request.param == "asyncio":
        monkeypatch.setattr(loop, "uvloop", None)
    else:
        pytest.importorskip("uvloop")

    def run(work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            assert type(asyncio.get_running_loop()).__module__.startswith(request.param)
            await asyncio.wait_for(work, 10)

        with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
            runner.run(bounded())

    return run


def test_many_that_end_together_wake_the_loop_once_and_share_a_timer(run: Run) -> None:
    async def work() -> None:
        counted = CountedLoop(asyncio.get_running_loop())
        requests = Requests(Commits(counted))  # type: ignore[arg-type]
        tasks = await requests.begun(50)
        requests.end_in_a_thread()
        assert await asyncio.gather(*tasks) == list(range(1, 51))
        assert (counted.woken, counted.timers) == (1, 1)
        requests.told.clear()
        [late] = await requests.begun(1)
        requests.end_in_a_thread()
        assert await late == 1
        assert (counted.woken, counted.timers) == (2, 1)

    run(work())


def test_what_ends_before_it_is_awaited_is_told(run: Run) -> None:
    async def work() -> None:
        def end_at_once(body: bytes, told: Told) -> str:
            told(None)
            return "done"

        assert await Commits(asyncio.get_running_loop()).after(end_at_once, SMALL, turn()) == "done"

    run(work())


def test_an_error_is_raised_where_it_is_awaited(run: Run) -> None:
    async def work() -> None:
        requests = Requests(Commits(asyncio.get_running_loop()))
        tasks = await requests.begun(2)
        requests.end_in_a_thread(StoreError("disk full"))
        for task in tasks:
            with pytest.raises(StoreError, match="disk full"):
                await task

    run(work())


def test_what_the_work_itself_raises_is_not_waited_for(run: Run) -> None:
    def broken(body: bytes, told: Told) -> None:
        raise StoreError("too much is waiting")

    async def work() -> None:
        with pytest.raises(StoreError, match="too much"):
            await Commits(asyncio.get_running_loop()).after(broken, SMALL, turn())

    run(work())


def test_who_gives_up_keeps_nobody_waiting(run: Run) -> None:
    async def work() -> None:
        requests = Requests(Commits(asyncio.get_running_loop()))
        gone, waiting = await requests.begun(2)
        gone.cancel()
        await asyncio.sleep(0)
        requests.end_in_a_thread()
        assert await waiting == 2

    run(work())


def test_a_commit_that_does_not_end_in_time_is_late_and_others_are_not(run: Run) -> None:
    async def work() -> None:
        requests = Requests(Commits(asyncio.get_running_loop(), timeout_s=0.02))
        for _ in range(2):  # the timer is set anew
            [late] = await requests.begun(1)
            with pytest.raises(TimeoutError):
                await late
            [waiting] = await requests.begun(1)
            requests.end_in_a_thread()  # for the first of them too late
            await waiting
            requests.told.clear()

    run(work())


@pytest.mark.parametrize(("size", "is_here"), [(SMALL_BYTES, True), (SMALL_BYTES + 1, False)])
def test_large_bodies_are_read_in_a_thread(run: Run, size: int, is_here: bool) -> None:
    def where(body: bytes, told: Told) -> bool:
        told(None)
        return threading.current_thread() is threading.main_thread()

    async def work() -> None:
        assert await Commits(asyncio.get_running_loop()).after(where, bytes(size), turn()) is is_here

    run(work())


def test_a_compressed_body_is_as_large_as_it_grows(run: Run) -> None:
    def where(body: bytes, told: Told) -> bool:
        told(None)
        return threading.current_thread() is threading.main_thread()

    async def work() -> None:
        commits = Commits(asyncio.get_running_loop())
        assert await commits.after(where, bytes(SMALL_BYTES // 10), turn(), growth=10)
        assert not await commits.after(where, bytes(SMALL_BYTES // 10 + 1), turn(), growth=10)

    run(work())


def test_large_bodies_are_decoded_one_at_a_time(run: Run) -> None:
    threads = set()

    def where(body: bytes, told: Told) -> None:
        told(None)
        threads.add(threading.current_thread())

    async def work() -> None:
        commits = Commits(asyncio.get_running_loop())
        large = bytes(SMALL_BYTES + 1)
        await asyncio.gather(*[commits.after(where, large, turn()) for _ in range(20)])
        assert len(threads) == 1

    run(work())


@pytest.mark.parametrize("size", [SMALL_BYTES, SMALL_BYTES + 1])
def test_a_turn_ends_and_the_body_is_let_go_of_before_the_commit_is_waited_for(run: Run, size: int) -> None:
    told: list[Told] = []

    async def work() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=1)
        mine = turns.turn()
        await mine.take()
        body = bytes(size)
        held = sys.getrefcount(body)
        commits = Commits(asyncio.get_running_loop())
        waiting = asyncio.create_task(commits.after(lambda body, tell: told.append(tell), body, mine))
        with turns.turn() as following:
            await following.take()
        while sys.getrefcount(body) > held:
            await asyncio.sleep(0)
        assert not waiting.done()
        told[0](None)
        await waiting

    run(work())
