"""Time as an argument: wall clock in ns for what is stored, monotonic seconds for waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """`now_ns` is Unix time in nanoseconds; `monotonic` is seconds that never run backwards, from any start."""

    def now_ns(self) -> int: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


class CautiousClock:
    """For forgetting: a wall clock that is never ahead of another, nor of the time that has really passed since this
    one was made. If somebody sets the clock years ahead, nothing is forgotten for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_ns = clock.now_ns()
        self._begun_s = clock.monotonic()

    def now_ns(self) -> int:
        passed_s = self._clock.monotonic() - self._begun_s
        return min(self._clock.now_ns(), self._begun_ns + round(passed_s * 1e9))

    def monotonic(self) -> float:
        return self._clock.monotonic()
