"""What was measured, as text and as Markdown."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measure import Figures
from tests.bench.sender import Order

HEAD = (
    f"{'load':<42}{'server':<24}{'spans/CPU s':>12}{'req/CPU s':>11}{'spans/s':>10}{'p50 ms':>8}{'p99 ms':>8}"
    f"{'p99 half':>9}{'peak MB':>8}{'fsyncs':>8}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server under one load."""

    order: Order
    server: str
    figures: Figures

    @property
    def load(self) -> str:
        return shown(self.order)

    def line(self) -> str:
        figures = self.figures
        half = "" if figures.half_p99_ms is None else f"{figures.half_p99_ms:.1f}"
        syncs = "" if figures.syncs is None else f"{figures.syncs:.2f}"
        errors = f"  {figures.errors} errors" if figures.errors else ""
        return (
            f"{self.load:<42}{self.server:<24}{figures.spans_a_cpu_second:>12,.0f}"
            f"{figures.requests_a_cpu_second:>11,.0f}{figures.spans / figures.wall_s:>10,.0f}"
            f"{figures.p50_ms:>8.1f}{figures.p99_ms:>8.1f}{half:>9}{figures.peak_mb:>8.0f}{syncs:>8}{errors}\n"
        )


def shown(order: Order) -> str:
    """The load in words; what `--only` looks into."""
    packed = " gzip" if order.is_gzip else ""
    return f"{order.load.name}, {order.load.spans} × {order.connections} {order.way}{packed}"


def markdown(rows: Sequence[Row]) -> list[str]:
    """A table with a line for each row."""
    lines = [
        "| load | server | spans/CPU s | requests/CPU s | p50 ms | p99 ms at half load | peak MB | fsyncs/request |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = row.figures
        name = (
            f"**{row.server.partition(',')[0]}**{row.server.removeprefix('spanmeter')}"
            if row.server == TO_THE_ACK
            else row.server
        )
        half = "–" if figures.half_p99_ms is None else f"{figures.half_p99_ms:.1f}"
        syncs = "–" if figures.syncs is None else f"{figures.syncs:.2f}"
        lines.append(
            f"| {row.load} | {name} | {figures.spans_a_cpu_second:,.0f} | {figures.requests_a_cpu_second:,.0f} "
            f"| {figures.p50_ms:.1f} | {half} | {figures.peak_mb:.0f} | {syncs} |"
        )
    return lines


TO_THE_ACK = "spanmeter, to the ack"


def machine() -> str:
    """Date, processor, cores and Python; no name that would say whose it is."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {found[1].strip() if found else platform.machine()}, {cores} cores, "
        f"Python {platform.python_version()}"
    )
