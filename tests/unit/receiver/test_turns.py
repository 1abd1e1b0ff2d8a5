"""Turns to read large bodies."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from spanmeter.receiver.turns import Turns


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work, 10)

    asyncio.run(bounded())


def test_so_many_have_a_turn_and_others_wait_in_order() -> None:
    async def work() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=2)
        entered: list[int] = []
        leave = [asyncio.Event() for _ in range(5)]

        async def one(number: int) -> None:
            with turns.turn() as turn:
                await turn.take()
                entered.append(number)
                await leave[number].wait()

        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert entered == [0, 1]
        for number in range(5):
            leave[number].set()
            await tasks[number]
            await asyncio.sleep(0)
            assert entered == list(range(min(number + 3, 5)))

    run(work())


def test_a_turn_that_was_not_taken_or_ended_before_ends_nobody_elses() -> None:
    async def work() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=1)
        with turns.turn():
            pass
        with turns.turn() as turn:
            await turn.take()
            turn.end()
        with turns.turn() as turn:
            await turn.take()
            assert turns.free.locked()

    run(work())


def test_who_gives_up_waiting_takes_no_turn() -> None:
    async def work() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=1)
        with turns.turn() as turn:
            await turn.take()
            gone = asyncio.create_task(turns.turn().take())
            await asyncio.sleep(0)
            gone.cancel()
        with turns.turn() as turn:
            await turn.take()

    run(work())


def test_a_slow_sender_lets_others_go_beside_it() -> None:
    async def work() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=1, slow_s=0.01)
        with turns.turn() as slow:
            await slow.take()
            with turns.turn() as other:
                await other.take()  # while the slow one goes on
        assert not turns.free.locked()
        with turns.turn() as here:
            await here.take()
            here.arrived()
            await asyncio.sleep(0.03)
            assert turns.free.locked()  # nobody goes beside a body that is only decoded for long
        assert not turns.free.locked()

    run(work())
