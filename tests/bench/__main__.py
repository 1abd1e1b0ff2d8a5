"""`python -m tests.bench`: what receiving costs, beside others under the same load in the same minute.

Loads are sent by a process of its own; CPU seconds are the server's alone. The rows "to the ack" are of
`spanmeter serve` while another process holds assembly's lock; "all told" counts until all that was sent is decided and
delivered, to a service that takes everything.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.loads import Load
from tests.bench.measure import Numbers, measured
from tests.bench.sender import Order
from tests.bench.servers import OTELCOL, PARSE_ONLY, ROOT, ROTEL, Contestant, revision, spanmeter
from tests.bench.table import HEAD, TO_THE_ACK, Row, machine, markdown, shown

LLM = Load(name="LLM spans", spans=512)
MIX = Load(name="5 % LLM", spans=512, is_mix=True)
KB = 1024
MOST_BYTES = 50 * 2**20
MOST_BYTES_ON_THE_WAY = 320 * 2**20
"""In all connections: more says nothing about the server, and the sender holds it, too."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, connections and encodings: some two hours")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load (default: 1.5)")
    parser.add_argument("--against", metavar="REV", help="another revision of this repository, measured beside")
    parser.add_argument("--only", default="", metavar="TEXT", help="loads, or servers, whose name contains this")
    parser.add_argument("--processes", type=int, metavar="N", help="spanmeter with so many, measured beside")
    parser.add_argument("--alone", action="store_true", help="spanmeter to the ack, with none of the others")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there, too")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanmeter-bench-")))
        contestants = [spanmeter(TO_THE_ACK, ROOT, assembles=False)]
        if chosen.against:
            tree = stack.enter_context(revision(chosen.against, folder))
            contestants.append(spanmeter(f"{chosen.against[:12]}, to the ack", tree, assembles=False))
        if chosen.processes:
            name, settings = f"{chosen.processes} processes, to the ack", {"SPANMETER_PROCESSES": str(chosen.processes)}
            contestants.append(spanmeter(name, ROOT, assembles=False, settings=settings))
        if not chosen.alone:
            contestants += OTHERS
        orders = full_orders(chosen.seconds) if chosen.full else usual_orders(chosen.seconds)
        rows = []
        sys.stdout.write(HEAD)
        for row in measured_rows(contestants, orders, folder, only=chosen.only):
            rows.append(row)
            sys.stdout.write(row.line())
            sys.stdout.flush()
    if chosen.markdown:
        Path(chosen.markdown).write_text("\n".join([f"{machine()}:", "", *markdown(rows), ""]))


OTHERS = (spanmeter("spanmeter, all told", ROOT, assembles=True), PARSE_ONLY, ROTEL, OTELCOL)


def measured_rows(
    contestants: Sequence[Contestant], orders: Iterator[Order], folder: Path, *, only: str = ""
) -> Iterator[Row]:
    """A row of each contestant for each load; who is not on this machine is told once, on standard error."""
    numbers = Numbers()
    skipped: set[str] = set()
    for place, order in enumerate(orders):
        for contestant in contestants:
            if contestant.name in skipped or not (only in contestant.name or only in shown(order)):
                continue
            try:
                with contestant.start(folder / f"{place}-{contestant.name.replace(' ', '-')}") as server:
                    ordered = replace(order, port=server.ports[order.way], first=numbers.some())
                    figures = measured(server, ordered, numbers, at_half=True, counts_syncs=contestant.is_durable)
            except pytest.skip.Exception as skip:
                skipped.add(contestant.name)
                sys.stderr.write(f"{contestant.name}: skipped, {skip}\n")
                continue
            yield Row(order=order, server=contestant.name, figures=figures)


def usual_orders(seconds: float) -> Iterator[Order]:
    """What most setups send, over gRPC and HTTP."""
    yield _order(LLM, "grpc", 8, seconds)
    yield _order(LLM, "http", 8, seconds)
    yield _order(MIX, "grpc", 8, seconds)
    yield _order(MIX, "http", 8, seconds)
    yield _order(Load(name="LLM spans", spans=1), "grpc", 64, seconds)
    yield _order(Load(name="LLM spans, 4 KB of text", spans=512, text_bytes=4 * KB), "grpc", 8, seconds)


def full_orders(seconds: float) -> Iterator[Order]:
    """Every kind of span in requests of every size, from one connection to many."""
    for text_bytes, is_mix in ((0, False), (4 * KB, False), (64 * KB, False), (0, True)):
        for spans in (1, 50, 512, 8192):
            name = "5 % LLM" if is_mix else f"LLM spans, {text_bytes // KB} KB of text" if text_bytes else "LLM spans"
            load = Load(name=name, spans=spans, text_bytes=text_bytes, is_mix=is_mix)
            request_bytes = spans * (text_bytes + 600)
            for connections in (1, 8, 64):
                if request_bytes > MOST_BYTES or request_bytes * connections > MOST_BYTES_ON_THE_WAY:
                    continue
                for way in ("grpc", "http"):
                    yield _order(load, way, connections, seconds)
                    # Larger ones tell how long the sender compresses.
                    if connections == 8 and request_bytes <= MOST_BYTES / 8:
                        yield _order(load, way, connections, seconds, is_gzip=True)


def _order(load: Load, way: str, connections: int, seconds: float, *, is_gzip: bool = False) -> Order:
    return Order(load=load, way=way, port=0, connections=connections, seconds=seconds, first=0, is_gzip=is_gzip)


if __name__ == "__main__":
    main()
