"""How the long-running commands are told to stop."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from spanmeter.cli.serve import _StopSignals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_none_came() -> None:
    assert not _StopSignals().came_within(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_came_before(number: signal.Signals) -> None:
    stop = _StopSignals()
    signal.raise_signal(number)
    assert stop.came_within(10.0)


def test_many_at_any_moment_of_waiting() -> None:
    stop = _StopSignals()

    def send() -> None:
        for _ in range(300):
            os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    came = [stop.came_within(0.0001) for _ in range(500)]
    sender.join()
    assert any(came)
