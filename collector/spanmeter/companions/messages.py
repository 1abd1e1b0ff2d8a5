"""What the service and a companion tell each other.

To the companion: `Settings`, once; then a text whenever that changes, what keeps the others from taking requests (empty
if nothing does); then `Stop`. From it: a text, what keeps it from taking requests, first when it listens and then
whenever that changes; or `Failure`.
"""

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Answer what is in flight, within so many seconds, and end."""

    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a companion could not start, as the command would say it."""

    message: str
    hint: str | None


class GoneError(Exception):
    """The process at the other end has ended."""


class Line:
    """One end of a connection between two processes; it breaks when either ends, however it does."""

    def __init__(self, connection: "Connection[object, object]") -> None:
        self.connection = connection

    @classmethod
    def pair(cls) -> "tuple[Line, Line]":
        ours, theirs = multiprocessing.Pipe()
        return cls(ours), cls(theirs)

    def say(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise GoneError from error

    def hear(self) -> object:
        """Waits for a message."""
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise GoneError from error

    def has_news(self, timeout_s: float) -> bool:
        """Waits for a message, or for the other end's end."""
        return self.connection.poll(timeout_s)
