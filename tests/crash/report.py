"""Figures as a table for a terminal and for a page."""

from tests.crash.power import PowerFigures
from tests.crash.trial import Figures


def table_of(figures: Figures) -> str:
    """Markdown: kills by where they fell, tokens by tenant, and what was found wrong."""
    found = figures.audit
    lines = ["| kill -9 | times |", "|---|---:|"]
    lines += [f"| {where} | {times} |" for where, times in sorted(figures.kills.items())]
    lines += [f"| **all** | **{figures.kills.total()}** |", ""]
    lines += [
        "| tenant | acknowledged tokens | billed tokens | of them with a lost answer | lost | doubled |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.tenant} | {row.acknowledged:,} | {row.billed:,} | {row.unknown:,} | {row.lost} | {row.doubled} |"
        for row in found.rows
    ]
    unknown = sum(row.unknown for row in found.rows)
    lines.append(
        f"| **all** | **{found.acknowledged:,}** | **{found.billed:,}** | **{unknown:,}** | "
        f"**{found.lost}** | **{found.doubled}** |"
    )
    lines += [
        "",
        f"{found.calls:,} calls, {found.sent_again:,} events sent again after a kill (same id, same bytes), "
        f"slowest restart {figures.slowest_start_s:.2f} s, {figures.seconds:.0f} s in all",
    ]
    lines += ["", *found.problems[:20]] if found.problems else []
    return "\n".join(lines)


def power_line_of(figures: PowerFigures) -> str:
    """One line, and what was found wrong."""
    line = (
        f"{figures.in_order:,} of {figures.acknowledged:,} acknowledgements sent after the write-ahead log was written "
        f"and fsynced ({figures.syncs:,} fsyncs, {figures.checkpointed:,} pages checkpointed meanwhile); "
        f"{figures.cuts:,} power cuts: {len(figures.problems)} problems"
    )
    return "\n".join([line, *figures.problems[:20]])
