"""Plain tables: numbers to the right, no escape codes, so that they may be piped."""

from collections.abc import Mapping, Sequence

import click

from spanmeter.store.ledger import Tally
from spanmeter.usage.outcome import Outcome, Reason


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Columns as wide as their widest cell; numbers with thousands separators."""
    if not rows:
        return
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    right = [all(isinstance(row[at], int) for row in rows) for at in range(len(head))]
    widths = [max(len(line[at]) for line in [list(head), *cells]) for at in range(len(head))]
    for line in [list(head), ["-" * width for width in widths], *cells]:
        parts = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(parts).rstrip(), err=err)


def outcome_rows(tallies: Mapping[tuple[Outcome, Reason], Tally]) -> list[dict[str, str | int]]:
    """One object an outcome and reason, in the order of `Outcome`."""
    order = {outcome: at for at, outcome in enumerate(Outcome)}
    return [
        {
            "outcome": outcome.value,
            "reason": reason.value,
            "spans": amount.spans,
            "input_tokens": amount.input_tokens,
            "output_tokens": amount.output_tokens,
        }
        for (outcome, reason), amount in sorted(tallies.items(), key=lambda item: (order[item[0][0]], item[0][1]))
        if amount.spans
    ]
