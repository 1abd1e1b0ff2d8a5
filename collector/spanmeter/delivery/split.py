"""How a refused batch is divided, so that the guilty are found and nobody else waits for long."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def divide(batch: Sequence[T], bad: Sequence[int]) -> list[Sequence[T]]:
    """The parts of a refused batch of at least two, each smaller than it, to be sent in this order.

    Where the service named events (`bad`, indexes): the others together first, then each named one alone, since only
    what is refused alone is surely guilty. Named none, or none that exists: two halves.
    """
    named = sorted({index for index in bad if 0 <= index < len(batch)})
    if not named:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    others = [item for index, item in enumerate(batch) if index not in named]
    return [*([others] if others else []), *([batch[index]] for index in named)]
