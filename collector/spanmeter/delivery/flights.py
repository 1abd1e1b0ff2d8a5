"""Requests under way, each in a thread of its own."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from spanmeter.delivery.batch import Batch
from spanmeter.openmeter.reply import Reply


class Sender(Protocol):
    """Sends encoded events as one request and says what became of them; `timeout_s` may shorten its own timeout.
    Called from several threads at once."""

    def send(self, bodies: Sequence[bytes], *, timeout_s: float | None = None) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A request that has ended: by a reply, or by an error of our own. `number` grows with each launch."""

    batch: Batch
    number: int
    end: Reply | Exception


def in_a_thread(work: Callable[[], None], make_thread: Callable[..., threading.Thread] = threading.Thread) -> None:
    """A daemon: a request that hangs must not keep the process. Where no thread can be started (the interpreter is
    ending, the system has no more), in the caller's."""
    try:
        make_thread(target=work, name="spanmeter-request", daemon=True).start()
    except RuntimeError:
        work()


def at_once(work: Callable[[], None]) -> None:
    """In the caller's thread: a launch has landed when it returns."""
    work()


class Flights:
    """Launched and landed by one thread. `spawn` runs a request beside the caller, or at once where a test says so."""

    def __init__(self, sender: Sender, *, spawn: Callable[[Callable[[], None]], None] = in_a_thread) -> None:
        self._sender = sender
        self._spawn = spawn
        self._change = threading.Condition()
        self._landings: deque[Landing] = deque()
        self._in_air: dict[int, Batch] = {}
        self._launched = 0

    @property
    def batches(self) -> Sequence[Batch]:
        """Those whose landing was not picked up yet."""
        return list(self._in_air.values())

    @property
    def launched(self) -> int:
        """The number of the last launch."""
        return self._launched

    def launch(self, batch: Batch, *, timeout_s: float | None = None) -> None:
        number = self._launched + 1
        bodies = [event.body for event in batch.events]

        def fly() -> None:
            end: Reply | Exception
            try:
                end = self._sender.send(bodies, timeout_s=timeout_s)
            except Exception as error:  # noqa: BLE001 - the thread's edge: the courier deals with it
                end = error
            with self._change:
                self._landings.append(Landing(batch=batch, number=number, end=end))
                self._change.notify()

        self._in_air[number] = batch
        self._launched = number
        self._spawn(fly)

    def land(self) -> list[Landing]:
        """Those that have ended since the last call, in the order of their ends."""
        with self._change:
            ended = [*self._landings]
            self._landings.clear()
        for landing in ended:
            del self._in_air[landing.number]
        return ended

    def wait(self, timeout_s: float) -> None:
        """Until one has ended, or the time is over."""
        with self._change:
            self._change.wait_for(lambda: self._landings, timeout_s)
