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
