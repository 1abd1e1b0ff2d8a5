"""`python -m tests.bench`: what receiving costs, beside others under the same load in the same minute.

Loads are sent by a process of its own; CPU seconds are the server's alone. The rows "to the ack" are of
`spanmeter serve` while another process holds assembly's lock; "all told" has assembly in it.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench.loads import Load
from tests.bench.measure import Figures, Numbers, measured
from tests.bench.sender import Order
from tests.bench.servers import OTELCOL, PARSE_ONLY, ROOT, ROTEL, Contestant, revision, spanmeter

LLM = Load(name="LLM spans", spans=512)
MIX = Load(name="5 % LLM", spans=512, is_mix=True)
KB = 1024
MOST_BYTES = 50 * 2**20
_HEAD = (
    f"{'load':<42}{'server':<24}{'spans/CPU s':>12}{'req/CPU s':>11}{'spans/s':>10}{'p50 ms':>8}{'p99 ms':>8}"
    f"{'p99 half':>9}{'peak MB':>8}{'fsyncs':>8}\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, connections and encodings: half an hour")
    parser.add_argument("--seconds", type=float, help="of each load (default: 1.5, with --full 5)")
    parser.add_argument("--against", metavar="REV", help="another revision of this repository, measured beside")
    parser.add_argument("--only", default="", help="loads or servers whose name contains this")
    parser.add_argument("--processes", type=int, metavar="N", help="spanmeter with so many, measured beside")
    parser.add_argument("--alone", action="store_true", help="spanmeter only, to the ack")
    chosen = parser.parse_args()
    seconds = chosen.seconds or (5.0 if chosen.full else 1.5)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanmeter-bench-")))
        contestants = [spanmeter("spanmeter, to the ack", ROOT, assembles=False)]
        if chosen.against:
            tree = stack.enter_context(revision(chosen.against, folder))
            contestants.append(spanmeter(f"{chosen.against[:12]}, to the ack", tree, assembles=False))
        if chosen.processes:
            name, settings = f"{chosen.processes} processes, to the ack", {"SPANMETER_PROCESSES": str(chosen.processes)}
            contestants.append(spanmeter(name, ROOT, assembles=False, settings=settings))
        if not chosen.alone:
            contestants += [spanmeter("spanmeter, all told", ROOT, assembles=True), PARSE_ONLY, ROTEL, OTELCOL]
        _measure_all(contestants, _orders(seconds, full=chosen.full), chosen.only, folder)


def _measure_all(contestants: list[Contestant], orders: Iterator[Order], only: str, folder: Path) -> None:
    numbers = Numbers()
    skipped: dict[str, str] = {}
    sys.stdout.write(_HEAD)
    for place, order in enumerate(orders):
        for contestant in contestants:
            if contestant.name in skipped or not (only in contestant.name or only in _shown(order)):
                continue
            try:
                with contestant.start(folder / f"{place}-{contestant.name.replace(' ', '-')}") as server:
                    ordered = Order(
                        load=order.load,
                        way=order.way,
                        port=server.ports[order.way],
                        connections=order.connections,
                        seconds=order.seconds,
                        first=numbers.some(),
                        is_gzip=order.is_gzip,
                    )
                    figures = measured(server, ordered, numbers, at_half=True, counts_syncs=contestant.is_durable)
            except pytest.skip.Exception as skip:
                skipped[contestant.name] = str(skip)
                continue
            sys.stdout.write(_line(order, contestant, figures))
            sys.stdout.flush()
    for name, reason in skipped.items():
        sys.stdout.write(f"{name}: skipped, {reason}\n")


def _orders(seconds: float, *, full: bool) -> Iterator[Order]:
    def order(load: Load, way: str, connections: int, *, is_gzip: bool = False) -> Order:
        return Order(load=load, way=way, port=0, connections=connections, seconds=seconds, first=0, is_gzip=is_gzip)

    if not full:
        yield order(LLM, "grpc", 8)
        yield order(LLM, "http", 8)
        yield order(MIX, "grpc", 8)
        yield order(Load(name="LLM spans", spans=1), "grpc", 64)
        yield order(Load(name="LLM spans, 4 KB of text", spans=512, text_bytes=4 * KB), "grpc", 8)
        return
    for text_bytes, is_mix in ((0, False), (4 * KB, False), (64 * KB, False), (0, True)):
        for spans in (1, 50, 512, 8192):
            name = "5 % LLM" if is_mix else f"LLM spans, {text_bytes // KB} KB of text" if text_bytes else "LLM spans"
            load = Load(name=name, spans=spans, text_bytes=text_bytes, is_mix=is_mix)
            if spans * (text_bytes + 600) > MOST_BYTES:
                continue
            for connections in (1, 8, 64):
                if spans * (text_bytes + 600) * connections > 20 * MOST_BYTES:
                    continue
                for way in ("grpc", "http"):
                    yield order(load, way, connections)
                    if connections == 8:
                        yield order(load, way, connections, is_gzip=True)


def _shown(order: Order) -> str:
    packed = " gzip" if order.is_gzip else ""
    return f"{order.load.name}, {order.load.spans} × {order.connections} {order.way}{packed}"


def _line(order: Order, contestant: Contestant, figures: Figures) -> str:
    half = "" if figures.half_p99_ms is None else f"{figures.half_p99_ms:.1f}"
    syncs = "" if figures.syncs is None else f"{figures.syncs:.2f}"
    errors = f"  {figures.errors} errors" if figures.errors else ""
    return (
        f"{_shown(order):<42}{contestant.name:<24}{figures.spans_a_cpu_second:>12,.0f}"
        f"{figures.requests_a_cpu_second:>11,.0f}{figures.spans / figures.wall_s:>10,.0f}"
        f"{figures.p50_ms:>8.1f}{figures.p99_ms:>8.1f}{half:>9}{figures.peak_mb:>8.0f}{syncs:>8}{errors}\n"
    )


if __name__ == "__main__":
    main()
