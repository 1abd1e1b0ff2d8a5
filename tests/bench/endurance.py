"""A long run at a steady rate: `python -m tests.bench.endurance --minutes 60 --rate 2000`.

LLM spans through the real `serve` with its default settings, but for --batch-events, on to a metering service that
takes everything. Looks every few seconds at memory, CPU, latencies, the journal, the outbox and the files, and prints a
line a minute. At the end the medians of the first and the last quarter; exits with 1 where memory grew after a warm-up,
requests failed or the rate was not kept. A run of less than a quarter of an hour cannot tell whether memory grows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from spanmeter.store.database import FILE_NAME, JOURNAL_NAME, Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.outbox import SqliteOutbox
from tests.bench.loads import Load
from tests.bench.measure import cpu_s, resident_mb
from tests.bench.sender import Order
from tests.bench.servers import ROOT, serving
from tests.bench.taking import taking_service

LOOK_EVERY_S = 5.0
WARM_UP_S = 300.0
"""Until then memory grows by what is kept at hand: SQLite's pages (up to 16 MB a connection), traces that wait."""
GROWN_SHARE, GROWN_MB = 1.03, 3.0
"""Of the time after that, memory has grown where the last third's median is above the first's by both."""
KEPT_SHARE = 0.97
"""Of the rate, that has to be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Of the time since the one before. `memory_mb` and `cpu` (cores) are of all processes of `serve`, `file_mb` and
    `log_mb` the data folder's files and their write-ahead logs."""

    after_s: float
    seconds: float
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    cpu: float
    memory_mb: float
    journal_rows: int
    outbox_events: int
    file_mb: float
    log_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What was asked for: LLM spans a second, in requests of so many, over so many connections."""

    seconds: float
    rate: float
    spans: int
    connections: int
    way: str = "grpc"
    settings: Mapping[str, str] = field(default_factory=dict)
    look_every_s: float = LOOK_EVERY_S


def samples(steady: Steady) -> Iterator[Sample]:
    """Looks at `serve` as long as the load lasts."""
    with tempfile.TemporaryDirectory(prefix="spanmeter-endurance-") as name, taking_service() as url:
        folder = Path(name) / "data"
        with serving(folder, settings={"SPANMETER_ENDPOINT": url, **steady.settings}) as server:
            order = Order(
                load=Load(name="LLM spans", spans=steady.spans),
                way=steady.way,
                port=server.ports[steady.way],
                connections=steady.connections,
                seconds=steady.seconds,
                first=0,
                rate=steady.rate / steady.spans,
                tell_every_s=steady.look_every_s,
            )
            command = [sys.executable, "-m", "tests.bench.sender", order.line()]
            database = Database.open_existing(folder)
            assert database is not None
            with (
                closing(database),
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sender,
            ):
                assert sender.stdout is not None
                begun_s = before_s = time.monotonic()
                used_s = cpu_s(server.pid)
                for line in sender.stdout:
                    now_s, now_used_s = time.monotonic(), cpu_s(server.pid)
                    if line == "begin\n":
                        begun_s = now_s
                    elif line == "end\n":
                        break
                    else:
                        yield Sample(
                            after_s=now_s - begun_s,
                            seconds=now_s - before_s,
                            cpu=(now_used_s - used_s) / (now_s - before_s),
                            memory_mb=resident_mb(server.pid),
                            journal_rows=SqliteJournal(database).depth(),
                            outbox_events=SqliteOutbox(database).depth(),
                            file_mb=sum(_size_mb(folder / name) for name in (FILE_NAME, JOURNAL_NAME)),
                            log_mb=sum(_size_mb(folder / f"{name}-wal") for name in (FILE_NAME, JOURNAL_NAME)),
                            **json.loads(line),
                        )
                    before_s, used_s = now_s, now_used_s
                sender.wait()


def _size_mb(file: Path) -> float:
    return file.stat().st_size / 1e6 if file.exists() else 0.0


def line_of(some: Sequence[Sample], spans: int) -> str:
    """These samples in one line."""
    seconds = sum(each.seconds for each in some)
    last = some[-1]
    return (
        f"{last.after_s / 60:6.1f} min  {sum(each.requests for each in some) * spans / seconds:8,.0f} spans/s  "
        f"CPU {100 * statistics.median(each.cpu for each in some):5.1f} %  "
        f"memory {statistics.median(each.memory_mb for each in some):6.1f} MB  "
        f"p50 {statistics.median(each.p50_ms for each in some):5.1f} ms  "
        f"p99 {statistics.median(each.p99_ms for each in some):6.1f} ms "
        f"(most {max(each.p99_ms for each in some):,.0f})  "
        f"journal {last.journal_rows:,} rows  outbox {last.outbox_events:,}  "
        f"file {last.file_mb:,.0f} MB  log {last.log_mb:.1f} MB"
    )


@dataclass(frozen=True, slots=True)
class Growth:
    """Of memory between the middles of the first and the last third of the time after the warm-up."""

    before_mb: float
    after_mb: float
    hours: float

    @property
    def is_growth(self) -> bool:
        return self.after_mb > self.before_mb * GROWN_SHARE and self.after_mb > self.before_mb + GROWN_MB

    def __str__(self) -> str:
        an_hour = (self.after_mb - self.before_mb) / self.hours
        return f"from {self.before_mb:.1f} to {self.after_mb:.1f} MB, {an_hour:+.1f} MB an hour"


def memory_growth(found: Sequence[Sample]) -> Growth | None:
    """None where there is not twice as much time after the warm-up as it takes."""
    warm = [each for each in found if each.after_s > WARM_UP_S]
    if not warm or warm[-1].after_s < 3 * WARM_UP_S:
        return None
    third = len(warm) // 3
    before, after = warm[:third], warm[-third:]
    return Growth(
        before_mb=statistics.median(each.memory_mb for each in before),
        after_mb=statistics.median(each.memory_mb for each in after),
        hours=(statistics.mean(each.after_s for each in after) - statistics.mean(each.after_s for each in before))
        / 3600,
    )


def complaints(found: Sequence[Sample], steady: Steady) -> list[str]:
    """What is not as it should be after a run."""
    reached = sum(each.requests for each in found) * steady.spans / sum(each.seconds for each in found)
    errors = sum(each.errors for each in found)
    told = []
    growth = memory_growth(found)
    if growth is not None and growth.is_growth:
        told.append(f"memory grew {growth}")
    if reached < KEPT_SHARE * steady.rate:
        told.append(f"{reached:,.0f} spans/s of {steady.rate:,.0f}")
    if errors:
        told.append(f"{errors:,} requests failed")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=2_000.0, help="LLM spans a second")
    parser.add_argument("--spans", type=int, default=100, help="of a request")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--http", action="store_true", help="instead of gRPC")
    parser.add_argument("--batch-events", type=int, help="SPANMETER_BATCH_EVENTS, its default if left out")
    chosen = parser.parse_args()
    steady = Steady(
        seconds=60 * chosen.minutes,
        rate=chosen.rate,
        spans=chosen.spans,
        connections=chosen.connections,
        way="http" if chosen.http else "grpc",
        settings={"SPANMETER_BATCH_EVENTS": str(chosen.batch_events)} if chosen.batch_events else {},
        look_every_s=min(LOOK_EVERY_S, 60 * chosen.minutes / 8),
    )
    found: list[Sample] = []
    told = 0
    for sample in samples(steady):
        found.append(sample)
        if sample.after_s >= 60 * (told + 1):
            told += 1
            minute = [each for each in found if each.after_s > 60 * (told - 1)]
            _say(line_of(minute, steady.spans))
    quarter = max(1, len(found) // 4)
    _say("first quarter, then last:", line_of(found[:quarter], steady.spans), line_of(found[-quarter:], steady.spans))
    growth, wrong = memory_growth(found), complaints(found, steady)
    _say(f"memory went {growth}" if growth else "too short to tell whether memory grows")
    _say(
        *(wrong or ["nothing to complain of: memory as far as that can be told, the rate was kept, no request failed"])
    )
    sys.exit(1 if wrong else 0)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
