"""`python -m tests.bench.cores`: what receiving gains from processes and cores, beside one, in the same minute.

One process takes a little more than one core, for gRPC and the journal have threads of their own; so it is measured
held to one core, too. Wall time is the measure here, so others at work on the machine spoil it: how many cores they
took is told. The sender takes its share of the same cores, and is told too: where there are no more cores than
processes, the gain is less than for spans from elsewhere. With TMPDIR=/dev/shm the data folder is in memory, and what
waiting for the disk's fsync costs is left out.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.loads import Load
from tests.bench.measure import Numbers, one_run
from tests.bench.sender import Order
from tests.bench.servers import serving

WAYS = ("grpc", "http")
LOAD = Load(name="LLM spans", spans=512)
ONE_CORE = 0
"""In place of a number of processes: one of them, held to a core."""
_HEAD = "way   processes    spans/s  server cores  sender cores  others  spans/CPU s  p99 ms\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Spans acknowledged, and how many cores were at work on it, and on other things."""

    spans_a_second: float
    server_cores: float
    sender_cores: float
    others_cores: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cores", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2], help="beside one (default: 2)")
    parser.add_argument("--connections", type=int, default=64, help="(default: 64)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many (default: 3)")
    parser.add_argument("--way", choices=WAYS, help="only this")
    parser.add_argument("--all-told", action="store_true", help="with assembly (default: to the ack)")
    chosen = parser.parse_args()
    sys.stdout.write(_HEAD)
    numbers = Numbers()
    for way in [chosen.way] if chosen.way else WAYS:
        found: dict[int, list[Found]] = {count: [] for count in dict.fromkeys((ONE_CORE, 1, *chosen.processes))}
        for _ in range(chosen.rounds):
            for count, rounds in found.items():
                order = Order(
                    load=LOAD,
                    way=way,
                    port=0,
                    connections=chosen.connections,
                    seconds=chosen.seconds,
                    first=numbers.some(),
                )
                rounds.append(measured_with(order, processes=count, assembles=chosen.all_told))
        for count, rounds in found.items():
            sys.stdout.write(_line(way, count, rounds))
        on_one_core, alone = (_median(found[count], "spans_a_second") for count in (ONE_CORE, 1))
        for count in chosen.processes:
            spans = _median(found[count], "spans_a_second")
            sys.stdout.write(
                f"{way}: {count} processes take {spans / on_one_core:.2f} times what one takes on one core, "
                f"{spans / alone:.2f} times what one takes\n"
            )
        sys.stdout.flush()


def measured_with(order: Order, *, processes: int, assembles: bool) -> Found:
    """What so many processes make of this load, or `ONE_CORE`; the order's port is theirs to say."""
    settings = {"SPANMETER_PROCESSES": str(processes or 1)}
    with (
        tempfile.TemporaryDirectory(prefix="spanmeter-bench-") as folder,
        serving(Path(folder) / "data", assembles=assembles, settings=settings) as server,
    ):
        if processes == ONE_CORE:
            core = min(os.sched_getaffinity(0))
            for thread in Path(f"/proc/{server.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})  # those that they start inherit it
        run = one_run(server, replace(order, port=server.ports[order.way]))
    if run["errors"]:
        raise RuntimeError(f"{run['errors']} requests failed")
    return Found(
        spans_a_second=run["requests"] * order.load.spans / order.seconds,
        server_cores=run["cpu_s"] / order.seconds,
        sender_cores=run["sender_cpu_s"] / order.seconds,
        others_cores=run["others_cpu_s"] / order.seconds,
        p99_ms=run["p99_ms"],
    )


def _median(rounds: Sequence[Found], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in rounds))


def _line(way: str, processes: int, rounds: Sequence[Found]) -> str:
    names = ("spans_a_second", "server_cores", "sender_cores", "others_cores", "p99_ms")
    spans, server, sender, others, p99_ms = (_median(rounds, name) for name in names)
    efficiency = statistics.median(one.spans_a_second / one.server_cores for one in rounds)
    took = f"{server:>14.2f}{sender:>14.2f}{others:>8.2f}"
    return f"{way:<6}{processes or 'one core':>9}{spans:>11,.0f}{took}{efficiency:>13,.0f}{p99_ms:>8.1f}\n"


if __name__ == "__main__":
    main()
