"""What spanmeter is to reach, and what was reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.growth import MOST_RATIO, Sized
from tests.bench.table import TO_THE_ACK, Row

ALL_TOLD, OTELCOL = "spanmeter, all told", "otelcol, fsync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`asked` and `reached` in `unit`; `reached` None where it was not measured."""

    name: str
    asked: float
    reached: float | None
    unit: str
    is_most: bool = False
    """Whether `asked` is the most that it may be; the least otherwise."""

    @property
    def is_met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached <= self.asked if self.is_most else self.reached >= self.asked

    def line(self) -> str:
        sign = "≤" if self.is_most else "≥"
        met = {True: "yes", False: "no", None: "–"}[self.is_met]
        reached = "not measured" if self.reached is None else f"{_number(self.reached)} {self.unit}".strip()
        return f"| {self.name} | {sign} {_number(self.asked)} {self.unit} | {reached} | {met} |".replace("  ", " ")


def lines_of(targets: Sequence[Target]) -> list[str]:
    """As a table in Markdown."""
    return ["| | asked for | reached | met |", "|---|---|---|---|", *(target.line() for target in targets)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What is measured beside the loads; None where it was not. Times in s, memory in MB."""

    assembled_calls: float | None = None
    steady_cores: float | None = None
    converted_spans: float | None = None
    convert_mb: float | None = None
    serve_starts_s: float | None = None
    convert_starts_s: float | None = None


def targets(rows: Sequence[Row], others: Others, growth: Sequence[Sized]) -> list[Target]:
    """Every one that can be told by figures of this machine."""

    def spans(load: str, server: str = TO_THE_ACK) -> float | None:
        return next((row.figures.spans_a_cpu_second for row in rows if (row.load, row.server) == (load, server)), None)

    own = [row for row in rows if row.server in {TO_THE_ACK, ALL_TOLD}]
    grpc, http = spans("LLM spans, 512 × 8 grpc"), spans("LLM spans, 512 × 8 http")
    halves = [
        row.figures.half_p99_ms for row in own if row.server == TO_THE_ACK and row.figures.half_p99_ms is not None
    ]
    beside = [
        ours / theirs
        for load in {row.load for row in own}
        if (ours := spans(load)) is not None and (theirs := spans(load, OTELCOL)) is not None
    ]
    months = [row.usage_s for row in growth if row.way == "ledger"]
    acks = [
        some[-1].ack_us / some[0].ack_us
        for way in {row.way for row in growth}
        if len(some := [row for row in growth if row.way == way]) > 1
    ]
    return [
        Target(name="LLM spans to the ack", asked=80_000, reached=grpc, unit="spans/CPU s"),
        Target(
            name="5 % LLM to the ack, gRPC",
            asked=600_000,
            reached=spans("5 % LLM, 512 × 8 grpc"),
            unit="spans/CPU s",
        ),
        Target(
            name="5 % LLM to the ack, HTTP",
            asked=600_000,
            reached=spans("5 % LLM, 512 × 8 http"),
            unit="spans/CPU s",
        ),
        Target(
            name="requests of one span to the ack",
            asked=2_500,
            reached=spans("LLM spans, 1 × 64 grpc"),
            unit="requests/CPU s",
        ),
        Target(name="HTTP by gRPC", asked=0.8, reached=http / grpc if http and grpc else None, unit=""),
        Target(name="by the OpenTelemetry Collector, least of the loads", asked=1, reached=_least(beside), unit=""),
        Target(name="assembly, outbox, delivery", asked=30_000, reached=others.assembled_calls, unit="calls/CPU s"),
        Target(name="p99 to the ack at half load, most", asked=50, reached=_most(halves), unit="ms", is_most=True),
        Target(
            name="10,000 LLM spans/s all told, batches of 1,000",
            asked=0.5,
            reached=others.steady_cores,
            unit="cores",
            is_most=True,
        ),
        Target(
            name="memory at any of these, most",
            asked=150,
            reached=_most([*(row.figures.peak_mb for row in own), *([others.convert_mb] if others.convert_mb else [])]),
            unit="MB",
            is_most=True,
        ),
        Target(name="`convert`", asked=60_000, reached=others.converted_spans, unit="spans/CPU s"),
        Target(name="start of `serve`", asked=1, reached=others.serve_starts_s, unit="s", is_most=True),
        Target(name="start of `convert`", asked=0.3, reached=others.convert_starts_s, unit="s", is_most=True),
        Target(
            name="the ack with the largest folder, by the smallest",
            asked=MOST_RATIO,
            reached=_most(acks),
            unit="",
            is_most=True,
        ),
        Target(
            name="`usage` of a month with the largest ledger",
            asked=2,
            reached=_most(months),
            unit="CPU s",
            is_most=True,
        ),
    ]


def _least(values: Sequence[float]) -> float | None:
    return min(values, default=None)


def _most(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
