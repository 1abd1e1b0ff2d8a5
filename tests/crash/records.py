"""What the clients know: which calls they made, and which spans were acknowledged."""

import itertools
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass

TENANTS = ("acme", "globex", "initech", "umbrella", "hooli")
CALL_ATTRIBUTE = "test.call"
"""Names a call in its events, whatever their ids: see `SPANMETER_DIMENSIONS` in `trial.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One LLM call of one tenant."""

    name: str
    tenant: str
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Records:
    """Calls by name. A call needs so many spans acknowledged to be acknowledged itself: its own, and the one that names
    its tenant. Thread-safe."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._change = threading.Condition()
        self._calls: dict[str, Call] = {}
        self._missing: dict[str, int] = {}
        self._acknowledged: list[Call] = []

    def new_call(self, *, spans: int = 1) -> Call:
        """A call that is about to be sent."""
        with self._change:
            call = Call(
                name=f"call-{next(self._numbers)}",
                tenant=self._random.choice(TENANTS),
                input_tokens=self._random.randint(1, 5000),
                output_tokens=self._random.randint(1, 500),
            )
            self._calls[call.name] = call
            self._missing[call.name] = spans
            return call

    def acknowledge(self, names: Iterable[str]) -> None:
        """The receiver said of these calls, one for each span, that it has them."""
        with self._change:
            for name in names:
                self._missing[name] -= 1
                if self._missing[name] == 0:
                    self._acknowledged.append(self._calls[name])
            self._change.notify_all()

    def wait_for_more(self, calls: int, *, timeout_s: float) -> bool:
        """Whether so many more calls are acknowledged before the time is over."""
        with self._change:
            wanted = len(self._acknowledged) + calls
            return self._change.wait_for(lambda: len(self._acknowledged) >= wanted, timeout_s)

    @property
    def sent(self) -> list[Call]:
        with self._change:
            return list(self._calls.values())

    @property
    def acknowledged(self) -> list[Call]:
        with self._change:
            return list(self._acknowledged)
