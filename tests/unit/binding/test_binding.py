"""What is bound where: blocks, functions, generators, tasks, threads."""

import asyncio
import contextvars
import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any

import pytest

import spanmeter
from spanmeter.binding import OWN_NAMES, bound
from spanmeter.errors import BindingError

ACME = spanmeter.tenant("acme")


def who() -> str:
    held = bound()
    return held.tenant if held is not None else "-"


def what() -> dict[str, str]:
    held = bound()
    return dict(held.dimensions) if held is not None else {}


@pytest.fixture(autouse=True)
def _nothing_is_left_bound() -> Iterator[None]:
    assert bound() is None
    yield
    assert bound() is None


class TestBlocks:
    def test_the_innermost_wins_and_the_outer_comes_back(self) -> None:
        with ACME:
            assert who() == "acme"
            with spanmeter.tenant(42):
                assert who() == "42"
                with ACME, ACME:
                    assert who() == "acme"
                assert who() == "42"
            assert who() == "acme"
        assert who() == "-"

    def test_an_error_ends_it(self) -> None:
        with pytest.raises(KeyError), ACME:
            raise KeyError
        assert who() == "-"

    def test_dimensions_add_up_until_another_tenant_is_named(self) -> None:
        with spanmeter.dimensions(region="eu"), spanmeter.tenant("acme", tier="gold"):
            with spanmeter.dimensions(team="x", tier="silver"):
                assert what() == {"region": "eu", "tier": "silver", "team": "x"}
                with ACME:
                    assert what() == {"region": "eu", "tier": "silver", "team": "x"}
                with spanmeter.tenant("bolt", seats=3):
                    assert what() == {"region": "eu", "seats": "3"}
                    with spanmeter.tenant("acme"):
                        assert what() == {"region": "eu"}
            assert what() == {"region": "eu", "tier": "gold"}

    def test_dimensions_alone_name_no_tenant(self) -> None:
        with spanmeter.dimensions(paid=True, weight=1.5, absent=None):
            assert (who(), what()) == ("", {"paid": "true", "weight": "1.5"})

    def test_blocks_that_end_in_the_wrong_order(self) -> None:
        """A generator that is held, and closed after its consumer's block: nobody's binding but its own may go."""

        def held() -> Iterator[str]:
            with spanmeter.tenant("inner"):
                yield who()

        with ACME:
            items = held()
            assert next(items) == "inner"
        assert who() == "-"
        with spanmeter.tenant("bolt"):
            items.close()  # type: ignore[attr-defined]
            assert who() == "bolt"


class TestNames:
    @pytest.mark.parametrize("name", ["", "  ", "x" * 513, "a\nb", "a\0", "\ud800", None, True, 1.5, b"acme", ["acme"]])
    def test_that_can_be_no_tenant(self, name: Any) -> None:
        with pytest.raises(BindingError) as error:
            spanmeter.tenant(name)
        assert isinstance(error.value, ValueError)

    def test_that_can(self) -> None:
        for name, tenant in (
            (" acme ", "acme"),
            (7, "7"),
            ("x" * 512, "x" * 512),
            ("Müller & Söhne", "Müller & Söhne"),
        ):
            with spanmeter.tenant(name):
                assert who() == tenant

    @pytest.mark.parametrize("name", [*OWN_NAMES, "a-b", "a b", "", "1a", "é"])
    def test_that_can_be_no_dimension(self, name: str) -> None:
        with pytest.raises(BindingError, match="dimension"):
            spanmeter.dimensions(**{name: "x"})

    @pytest.mark.parametrize("value", [["x"], {"a": 1}, b"x", "x" * 513, "a\nb"])
    def test_that_can_be_no_dimension_s_value(self, value: Any) -> None:
        with pytest.raises(BindingError, match="dimension tier"):
            spanmeter.tenant("acme", tier=value)


class TestFunctions:
    def test_plain(self) -> None:
        @ACME
        def work(add: str, *, more: str = "") -> str:
            """Said."""
            return who() + add + more

        assert work("!", more="?") == "acme!?"
        assert (work.__name__, work.__doc__) == ("work", "Said.")

    def test_async(self) -> None:
        async def plain() -> str:
            await asyncio.sleep(0)
            return who()

        work = ACME(plain)

        async def both() -> list[str]:
            return list(await asyncio.gather(work(), spanmeter.tenant("bolt")(plain)()))

        assert inspect.iscoroutinefunction(work)
        assert asyncio.run(both()) == ["acme", "bolt"]

    def test_callable_objects_and_partials(self) -> None:
        class Work:
            async def __call__(self) -> str:
                await asyncio.sleep(0)
                return who()

        async def named(suffix: str) -> str:
            await asyncio.sleep(0)
            return who() + suffix

        assert asyncio.run(ACME(Work())()) == "acme"
        assert asyncio.run(ACME(functools.partial(named, "!"))()) == "acme!"

    def test_methods(self) -> None:
        class Agent:
            @ACME
            def run(self) -> str:
                return who()

        assert Agent().run() == "acme"


class TestGenerators:
    def test_the_consumer_is_not_under_it(self) -> None:
        @ACME
        def work() -> Iterator[str]:
            yield who()
            with spanmeter.tenant("inner"):
                yield who()
                yield who()
            yield who()

        seen: list[tuple[str, str]] = []
        with spanmeter.tenant("consumer"):
            seen.extend((item, who()) for item in work())
        assert seen == [(name, "consumer") for name in ("acme", "inner", "inner", "acme")]
        assert inspect.isgeneratorfunction(work)

    def test_send_throw_return_and_close(self) -> None:
        log: list[str] = []

        @ACME
        def work() -> Any:
            try:
                got = yield "first"
                log.append(f"{got} {who()}")
                try:
                    yield "second"
                except KeyError:
                    log.append(f"caught {who()}")
                yield "third"
            finally:
                log.append(f"closed {who()}")

        with closing(work()) as items:
            assert [next(items), items.send("sent"), items.throw(KeyError())] == ["first", "second", "third"]
        assert log == ["sent acme", "caught acme", "closed acme"]

        @ACME
        def whole() -> Any:
            yield 1
            return who()

        def outer() -> Any:
            return (yield from whole())

        items = outer()
        next(items)
        with pytest.raises(StopIteration) as stop:
            next(items)
        assert stop.value.value == "acme"

    def test_each_step_in_another_thread(self) -> None:
        @ACME
        def work() -> Iterator[str]:
            with spanmeter.tenant("inner"):
                yield who()
                yield who()
            yield who()

        items = work()
        with ThreadPoolExecutor(2) as pool:
            assert [pool.submit(next, items).result() for _ in range(3)] == ["inner", "inner", "acme"]
            assert pool.submit(who).result() == "-"
        items.close()  # type: ignore[attr-defined]

    def test_async(self) -> None:
        log: list[str] = []

        @ACME
        async def work() -> Any:
            try:
                got = yield who()
                await asyncio.sleep(0)
                log.append(f"{got} {who()}")
                try:
                    with spanmeter.tenant("inner"):
                        yield who()
                except KeyError:
                    log.append(f"caught {who()}")
                yield who()
            finally:
                await asyncio.sleep(0)
                log.append(f"closed {who()}")

        async def consume() -> list[tuple[str, str]]:
            with spanmeter.tenant("consumer"):
                async with aclosing(work()) as items:
                    return [
                        (await anext(items), who()),
                        (await items.asend("sent"), who()),
                        (await items.athrow(KeyError()), who()),
                    ]

        assert inspect.isasyncgenfunction(work)
        assert asyncio.run(consume()) == [("acme", "consumer"), ("inner", "consumer"), ("acme", "consumer")]
        assert log == ["sent acme", "caught acme", "closed acme"]

    def test_async_to_the_end(self) -> None:
        @ACME
        async def work() -> AsyncIterator[str]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield who()

        async def consume() -> list[str]:
            return [item + who() async for item in work()]

        assert asyncio.run(consume()) == ["acme-"] * 3


class TestConcurrency:
    def test_tasks_keep_what_was_bound_when_they_were_made(self) -> None:
        async def late() -> str:
            await asyncio.sleep(0)
            return who()

        async def run() -> list[str]:
            tasks = []
            for name in ("acme", "bolt", "cord"):
                with spanmeter.tenant(name):
                    tasks.append(asyncio.create_task(late()))
            with ACME:
                tasks.append(asyncio.create_task(asyncio.to_thread(who)))
            return await asyncio.gather(*tasks)

        assert asyncio.run(run()) == ["acme", "bolt", "cord", "acme"]

    def test_a_thread_is_given_a_copy_of_the_context(self) -> None:
        seen: list[str] = []

        def work() -> None:
            seen.append(who())

        def thread(target: Callable[..., Any], *args: Any) -> None:
            running = threading.Thread(target=target, args=args)
            running.start()
            running.join()

        with ACME, ThreadPoolExecutor(1) as pool:
            thread(contextvars.copy_context().run, work)
            pool.submit(contextvars.copy_context().run, work).result()
        assert seen == ["acme", "acme"]

    def test_one_binding_in_many_threads_at_once(self) -> None:
        barrier = threading.Barrier(4, timeout=5)

        def work(name: str) -> list[str]:
            seen = []
            with spanmeter.tenant(name):
                barrier.wait()
                with ACME:
                    barrier.wait()
                    seen.append(who())
                seen.append(who())
            return [*seen, who()]

        with ThreadPoolExecutor(4) as pool:
            names = ["a", "b", "c", "d"]
            assert list(pool.map(work, names)) == [["acme", name, "-"] for name in names]


def test_the_import_is_light() -> None:
    code = "import sys, spanmeter; print(sorted(name for name in sys.modules if name.startswith('spanmeter.')))"
    heavy = (
        "print({'grpc', 'httpx', 'pydantic', 'sqlite3', 'opentelemetry', 'inspect', 'asyncio'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", f"{code}; {heavy}"], capture_output=True, text=True, check=True)
    assert done.stdout == "['spanmeter.binding', 'spanmeter.errors']\nset()\n"
