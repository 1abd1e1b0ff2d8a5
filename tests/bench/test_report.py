"""What the report makes of figures."""

from dataclasses import replace

from tests.bench.__main__ import usual_orders
from tests.bench.growth import Sized
from tests.bench.measure import Figures
from tests.bench.report import parts_of, with_parts
from tests.bench.table import TO_THE_ACK, Row, markdown
from tests.bench.targets import OTELCOL, Others, targets

FIGURES = Figures(
    requests=200,
    spans=102_400,
    errors=0,
    wall_s=1.0,
    cpu_s=1.0,
    p50_ms=5.0,
    p99_ms=20.0,
    half_p99_ms=10.0,
    peak_mb=90.0,
    syncs=0.5,
)
ROWS = [Row(order=order, server=TO_THE_ACK, figures=FIGURES) for order in usual_orders(1.0)]
SIZED = Sized(
    way="ledger",
    size=1,
    ack_us=1000.0,
    assembly_us=30.0,
    delivery_us=3.0,
    usage_s=0.2,
    status_s=0.2,
    listens_s=0.4,
    caught_up_s=0.4,
    memory_mb=60.0,
    file_mb=1.0,
)


def verdicts(rows: list[Row], others: Others, growth: list[Sized]) -> dict[str, tuple[float | None, bool | None]]:
    return {target.name: (target.reached, target.is_met) for target in targets(rows, others, growth)}


def test_what_was_not_measured_is_not_met_and_not_missed() -> None:
    assert set(verdicts([], Others(), []).values()) == {(None, None)}


def test_reached_beside_asked() -> None:
    theirs = replace(ROWS[0], server=OTELCOL, figures=replace(FIGURES, cpu_s=2.0))
    found = verdicts(
        [*ROWS, theirs], Others(steady_cores=0.6, convert_mb=160.0), [SIZED, replace(SIZED, ack_us=1500.0)]
    )
    assert (
        found
        | {
            "LLM spans to the ack": (102_400, True),
            "5 % LLM to the ack, gRPC": (102_400, False),
            "HTTP by gRPC": (1.0, True),
            "by the OpenTelemetry Collector, least of the loads": (2.0, True),
            "p99 to the ack at half load, most": (10.0, True),
            "memory at any of these, most": (160.0, False),
            "10,000 LLM spans/s all told, batches of 1,000": (0.6, False),
            "the ack with the largest folder, by the smallest": (1.5, False),
            "`usage` of a month with the largest ledger": (0.2, True),
            "`convert`": (None, None),
        }
        == found
    )


def test_a_row_in_markdown() -> None:
    assert markdown(ROWS)[2] == (
        "| LLM spans, 512 × 8 grpc | **spanmeter**, to the ack | 102,400 | 200 | 5.0 | 10.0 | 90 | 0.50 |"
    )


def test_what_stands_between_marks_is_replaced_and_nothing_else() -> None:
    parts = parts_of(ROWS, Others(), [SIZED])
    page = "before\n<!-- figures: growth -->\nold\n<!-- /figures -->\nbetween\n"
    page += "<!-- figures: loads -->\n<!-- /figures -->\n"
    once = with_parts(page, parts)
    assert "old" not in once
    assert once.startswith("before\n<!-- figures: growth -->\n") and "\n<!-- /figures -->\nbetween\n" in once
    assert "| 1 events in the ledger | 1,000 |" in once
    assert "**spanmeter**, to the ack" in once
    assert with_parts(once, parts) == once
