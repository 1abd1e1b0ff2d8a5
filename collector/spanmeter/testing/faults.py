"""What can go wrong between a batch and its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """This answer, nothing taken."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """The connection is closed before the batch is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeAndHangUp:
    """The batch is taken, and the connection closed without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeAndLose:
    """The batch is answered as taken, and never stored. `claims`: its ids count as seen all the same, so that it cannot
    be sent again (OpenMeter issue 5118)."""

    claims: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The batch is handled as usual, after a delay that a stop of the service cuts short."""

    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Bytes that are no HTTP, then the end of the connection; nothing taken."""

    data: bytes = b"\x16\x03\x01 what?\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """The batch is refused with 400 if an event in it is bad; `named` says whether the answer names which."""

    is_bad: Callable[[dict[str, Any]], bool]
    named: bool = True


Fault = Answer | HangUp | TakeAndHangUp | TakeAndLose | Slow | Garbage | Poison
