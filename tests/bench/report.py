"""All figures of tests/bench/README.md and of the README anew: `python -m tests.bench.report`.

Measures the usual loads beside the others, assembly and delivery, a steady rate, `convert`, both starts, and growth;
some 20 minutes, with `--short` a minute and few of them. Prints the tables; with `--write` puts them between the marks
`<!-- figures … -->` of both files.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spanmeter.demo.stage import clean_environment
from tests.bench.__main__ import OTHERS, measured_rows, usual_orders
from tests.bench.convert import converted
from tests.bench.endurance import Steady, samples
from tests.bench.growth import SIZES, Effort, Sized, grown
from tests.bench.growth import lines_of as growth_lines
from tests.bench.loads import Load, template_of
from tests.bench.servers import ROOT, serving, spanmeter
from tests.bench.table import TO_THE_ACK, Row, machine, markdown
from tests.bench.targets import Others, lines_of, targets

FILES = (ROOT / "README.md", ROOT / "tests" / "bench" / "README.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured. `loads`: of the usual ones, so many."""

    seconds: float
    loads: int
    is_alone: bool
    calls: int
    steady_s: float
    recorded_requests: int
    sizes: dict[str, tuple[int, ...]]
    effort: Effort
    times: int
    """How often what others on the machine make dearer is measured: the cheapest counts."""


WHOLE = Extent(
    seconds=1.5,
    loads=6,
    is_alone=False,
    calls=30_000,
    steady_s=40.0,
    recorded_requests=200,
    sizes=SIZES,
    effort=Effort(seconds=2.0, rounds=3, calls=30_000),
    times=5,
)
SHORT = Extent(
    seconds=0.2,
    loads=1,
    is_alone=True,
    calls=500,
    steady_s=1.0,
    recorded_requests=5,
    sizes={},
    effort=Effort(seconds=0.2, rounds=1, calls=500),
    times=1,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.report", description=__doc__)
    parser.add_argument("--short", action="store_true", help="few of them, for a look at the form")
    parser.add_argument("--most", type=int, default=max(SIZES["ledger"]), help="growth to no larger sizes")
    parser.add_argument("--write", action="store_true", help="into README.md and tests/bench/README.md")
    chosen = parser.parse_args()
    extent = SHORT if chosen.short else WHOLE
    rows = _rows(extent)
    others = _others(extent)
    growth = [
        row
        for way, sizes in extent.sizes.items()
        for row in grown(way, [size for size in sizes if size <= chosen.most], extent.effort)
    ]
    parts = parts_of(rows, others, growth)
    for name, lines in parts.items():
        sys.stdout.write(f"{name}\n\n" + "\n".join(lines) + "\n\n")
    if chosen.write:
        for file in FILES:
            file.write_text(with_parts(file.read_text(), parts))


def parts_of(rows: Sequence[Row], others: Others, growth: Sequence[Sized]) -> dict[str, list[str]]:
    """Lines of Markdown by the name of their mark."""
    return {
        "machine": [f"{machine()}:"],
        "targets": lines_of(targets(rows, others, growth)),
        "loads": markdown(rows),
        "growth": growth_lines(growth),
    }


def with_parts(text: str, parts: dict[str, list[str]]) -> str:
    """The text with what stands between its marks replaced; it need not have all of them."""
    for name, lines in parts.items():
        between = "\n" + "\n".join(lines) + "\n"
        text = re.sub(
            rf"(<!-- figures: {name} -->\n).*?(<!-- /figures -->)",
            lambda found, between=between: found[1] + between + "\n" + found[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


def _rows(extent: Extent) -> list[Row]:
    contestants = [spanmeter(TO_THE_ACK, ROOT, assembles=False), *(() if extent.is_alone else OTHERS)]
    orders = [*usual_orders(extent.seconds)][: extent.loads]
    rows = []
    with tempfile.TemporaryDirectory(prefix="spanmeter-bench-") as folder:
        for row in measured_rows(contestants, iter(orders), Path(folder)):
            rows.append(row)
            sys.stderr.write(row.line())  # it takes a while
    return rows


def _others(extent: Extent) -> Others:
    assembled = max(_assembled(extent.calls) for _ in range(extent.times))
    steady = Steady(
        seconds=extent.steady_s,
        rate=10_000.0,
        spans=512,
        connections=8,
        settings={"SPANMETER_BATCH_EVENTS": "1000"},  # twenty thousand events a second are much for batches of 100
        look_every_s=extent.steady_s / 4,
    )
    load = Load(name="LLM spans", spans=512)
    recorded = [converted(load, "protobuf", extent.recorded_requests) for _ in range(extent.times)]
    return Others(
        assembled_calls=assembled,
        steady_cores=min(_cores(steady) for _ in range(extent.times)),
        converted_spans=max(each.spans_a_cpu_second for each in recorded),
        convert_mb=max(each.peak_mb for each in recorded),
        serve_starts_s=_quickest(_serve_s, extent.times),
        convert_starts_s=_quickest(_convert_s, extent.times),
    )


def _cores(steady: Steady) -> float:
    """That `serve` takes, once there is something to decide."""
    return statistics.median([sample.cpu for sample in samples(steady)][1:])


def _assembled(calls: int) -> float:
    """Calls a CPU second."""
    command = [sys.executable, "-m", "tests.bench.assembly", "--calls", str(calls)]
    told = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return float(told["calls_a_cpu_second"])


def _quickest(start: Callable[[Path], float], times: int) -> float:
    """Others on the machine make a start slower, nothing makes it faster."""
    took = []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="spanmeter-bench-") as folder:
            took.append(start(Path(folder)))
    return min(took)


def _serve_s(folder: Path) -> float:
    """Until it listens."""
    begun_s = time.monotonic()
    with serving(folder / "data"):
        return time.monotonic() - begun_s


def _convert_s(folder: Path) -> float:
    """Of one span, to the end."""
    (folder / "recorded").write_bytes(template_of(Load(name="", spans=1), seed=1).request(1))
    begun_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "spanmeter", "convert", str(folder / "recorded"), "--quiet"],
        env={**clean_environment(os.environ), "PYTHONPATH": str(ROOT / "collector")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - begun_s


if __name__ == "__main__":
    main()
