"""Spans and tokens by outcome, and the proof that none got lost: received = sum of outcomes."""

from collections.abc import Iterable
from typing import Final

from spanmeter.store.ledger import Settlement, Tally
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.outcome import Outcome, Reason
from spanmeter.usage.packing import Counts


class Sums:
    """Spans and tokens by outcome, growing span by span."""

    def __init__(self) -> None:
        self._amounts: dict[tuple[Outcome, Reason], list[int]] = {}

    def add(self, outcome: Outcome, reason: Reason, facts: SpanFacts, times: int) -> None:
        """Count a span so many times; -1 takes it back."""
        amount = self._amounts.get((outcome, reason))
        if amount is None:
            amount = self._amounts[outcome, reason] = [0, 0, 0]
        amount[0] += times
        usage = facts.call.usage if facts.call is not None else None
        if usage is not None:
            amount[1] += times * usage.all_input
            amount[2] += times * usage.all_output

    def move_to(self, settlement: Settlement) -> None:
        for (outcome, reason), (spans, inputs, outputs) in self._amounts.items():
            settlement.tally(outcome, reason, Tally(spans=spans, input_tokens=inputs, output_tokens=outputs))
        self._amounts.clear()


Received = tuple[SpanFacts, Counts | None]
"""A span's shape and counts."""
_NO_COUNTS: Final[Counts] = (0, 0, 0, 0, 0)


def check_balance(arrived: Iterable[Received], settlement: Settlement) -> None:
    """Raises AssertionError unless the outcomes of a round come to the LLM spans that arrived in it, in spans and in
    tokens."""
    calls = [counts for shape, counts in arrived if shape.call is not None]
    counted = [counts for counts in calls if counts is not None] or [_NO_COUNTS]
    fresh, cache_read, cache_write, output, reasoning = map(sum, zip(*counted, strict=True))
    received = Tally(spans=len(calls), input_tokens=fresh + cache_read + cache_write, output_tokens=output + reasoning)
    accounted_for = Tally()
    for amount in settlement.tallies.values():
        accounted_for = accounted_for.plus(amount)
    assert received == accounted_for, f"books do not balance: received {received}, accounted for {accounted_for}"
