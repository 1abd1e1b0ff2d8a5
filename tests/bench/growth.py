"""How cost grows: `python -m tests.bench.growth`, with `--short` in a minute.

Along three ways: events in the ledger, traces that are not decided yet, tenants. At each size: CPU of a request of 512
LLM spans to the ack, CPU of a call through assembly and delivery, CPU of `usage` of the last month and of `status`, the
time of a restart until it listens and until it has read what was left, and the memory of `serve` after that. Exits with
1 where the ack of the largest size costs over 1.3 times that of the smallest.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spanmeter.demo.stage import clean_environment
from spanmeter.ledger.report import usage_rows
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from tests.bench.assembly import fill_journal, open_calls
from tests.bench.books import DAYS, fill_ledger
from tests.bench.loads import Load
from tests.bench.measure import Numbers, cpu_s, one_run, resident_mb
from tests.bench.sender import Order
from tests.bench.servers import ROOT, serving

SIZES = {
    "ledger": (1, 10_000, 100_000, 1_000_000, 10_000_000),
    "pending": (1, 1_000, 10_000, 100_000, 1_000_000),
    "tenants": (1, 100, 10_000, 100_000),
}
SHORT_SIZES = {"ledger": (1, 100_000), "pending": (1, 10_000), "tenants": (1, 10_000)}
UNITS = {"ledger": "events in the ledger", "pending": "traces not decided", "tenants": "tenants"}
MOST_RATIO = 1.3
EVENTS_OF_TENANTS = 200_000
"""In the ledger where tenants are many: it is they that are reported."""
# A trace that is open for ever is one whose time has not come.
OPEN = {"SPANMETER_TRACE_QUIET_S": "3600", "SPANMETER_TRACE_MAX_S": "86400"}
CAUGHT_UP_S, IDLE_SHARE, LONGEST_S = 0.4, 0.1, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """CPU in µs, of a request of 512 spans to the ack and of a call; CPU of commands in s, start-up included; times of
    a restart in s."""

    way: str
    size: int
    ack_us: float
    assembly_us: float
    delivery_us: float
    usage_s: float
    status_s: float
    listens_s: float
    caught_up_s: float
    memory_mb: float
    file_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done to measure one size: `rounds` of `seconds` to the ack, of which the best counts."""

    seconds: float
    rounds: int
    calls: int


def grown(way: str, sizes: Sequence[int], effort: Effort) -> Iterator[Sized]:
    """The figures at each size; the folder grows from one to the next."""
    numbers = Numbers()
    with tempfile.TemporaryDirectory(prefix="spanmeter-growth-") as name:
        folder = Path(name) / "data"
        size = 0
        for after in sizes:
            with closing(Database.open(folder)) as database:
                fill(database, way, size, after)
            size = after
            tenants = size if way == "tenants" else 1_000
            listens_s, caught_up_s, memory_mb = _restart(folder)
            with _copied(folder) as copy:
                ack_us = _ack_us(copy, tenants, effort, numbers)
            a_call = _assembly(folder, way, size, tenants, effort.calls)
            yield Sized(
                way=way,
                size=size,
                ack_us=ack_us,
                assembly_us=a_call["assembly_us_a_call"],
                delivery_us=a_call["delivery_us_a_call"],
                usage_s=_command_s(folder, "usage", "--by", "month", "--since", _month_ago()),
                status_s=_command_s(folder, "status"),
                listens_s=listens_s,
                caught_up_s=caught_up_s,
                memory_mb=memory_mb,
                file_mb=sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
            )


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    """What is done in it leaves the folder as it was."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def fill(database: Database, way: str, before: int, size: int) -> None:
    """Make it as large as that, where it was of size `before`."""
    now_ns = time.time_ns()
    there = sum(row.events for row in usage_rows(database))
    match way:
        case "ledger":
            fill_ledger(database, size, now_ns=now_ns, tenants=1_000, first=there)
        case "pending":
            calls = open_calls(random.Random(size), now_ns=now_ns)
            fill_journal(SqliteJournal(database), calls, size - before, now_ns=now_ns)
        case "tenants":
            more = (there or EVENTS_OF_TENANTS) + 2 * size
            fill_ledger(database, more, now_ns=now_ns, tenants=size, first=there)


def _restart(folder: Path) -> tuple[float, float, float]:
    """Seconds until it listens, and until it has nothing to do any more; MB that it holds then."""
    begun_s = time.monotonic()
    with serving(folder, settings=OPEN) as server:
        listens_s = time.monotonic() - begun_s
        used_s, last_busy_s = cpu_s(server.pid), time.monotonic()
        while time.monotonic() < begun_s + LONGEST_S:
            time.sleep(CAUGHT_UP_S)
            before_s, used_s = used_s, cpu_s(server.pid)
            if used_s - before_s < IDLE_SHARE * CAUGHT_UP_S:
                break
            last_busy_s = time.monotonic()
        return listens_s, last_busy_s - begun_s, resident_mb(server.pid)


def _command_s(folder: Path, *arguments: str) -> float:
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "spanmeter", *arguments],
        env={**clean_environment(os.environ), "PYTHONPATH": str(ROOT / "collector"), "SPANMETER_DATA_DIR": str(folder)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _month_ago() -> str:
    return (datetime.now(UTC) - timedelta(days=DAYS)).isoformat()


def _ack_us(folder: Path, tenants: int, effort: Effort, numbers: Numbers) -> float:
    load = Load(name="LLM spans", spans=512, tenants=tenants)
    found = []
    with serving(folder, assembles=False, settings=OPEN) as server:
        for _ in range(effort.rounds):
            order = Order(
                load=load,
                way="grpc",
                port=server.ports["grpc"],
                connections=8,
                seconds=effort.seconds,
                first=numbers.some(),
            )
            run = one_run(server, order)
            found.append(1e6 * float(run["cpu_s"]) / int(run["requests"]))
    return min(found)


def _assembly(folder: Path, way: str, size: int, tenants: int, calls: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.assembly", "--calls", str(calls), "--tenants", str(tenants)]
    with _copied(folder) as copy:
        # Its clock is its own: it opens the traces that wait anew.
        command += ["--pending", str(size)] if way == "pending" else ["--data-dir", str(copy)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def lines_of(rows: Sequence[Sized]) -> list[str]:
    """As a table in Markdown: two lines of head, then one a row."""
    return [
        "| | to the ack, µs a request of 512 | assembly, µs a call | delivery, µs a call | `usage`, CPU s "
        "| `status`, CPU s | listens after s | caught up after s | memory MB | file MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.size:,} {UNITS[row.way]} | {row.ack_us:,.0f} | {row.assembly_us:.0f} | {row.delivery_us:.0f} "
            f"| {row.usage_s:.2f} | {row.status_s:.2f} | {row.listens_s:.2f} | {row.caught_up_s:.2f} "
            f"| {row.memory_mb:.0f} | {row.file_mb:,.0f} |"
            for row in rows
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute: two sizes of each")
    parser.add_argument("--way", choices=[*SIZES], help="one of them only")
    parser.add_argument("--most", type=int, help="no larger sizes")
    chosen = parser.parse_args()
    effort = Effort(seconds=0.5, rounds=2, calls=2_000) if chosen.short else Effort(seconds=2.0, rounds=3, calls=30_000)
    bent = False
    for way, sizes in (SHORT_SIZES if chosen.short else SIZES).items():
        if chosen.way in (None, way):
            rows = []
            for row in grown(way, [size for size in sizes if size <= (chosen.most or size)], effort):
                rows.append(row)
                sys.stdout.write("\n".join(lines_of(rows)[0 if len(rows) == 1 else -1 :]) + "\n")
                sys.stdout.flush()
            ratio = rows[-1].ack_us / rows[0].ack_us
            bent = bent or ratio > MOST_RATIO
            sys.stdout.write(f"\nto the ack, largest by smallest: {ratio:.2f}\n\n")
    sys.exit(1 if bent else 0)


if __name__ == "__main__":
    main()
