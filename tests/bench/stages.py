"""What becomes of a request, stage by stage, in one thread: `python -m tests.bench.stages`.

CPU in µs a span, without any server: OTLP's own parser on the same bodies; decoding and recognition; the journal's
encoding; the append, fsync included, of four requests at a time. The least of several rounds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import journal_entry
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter.store.journal import JournalEntry, SqliteJournal, encoded
from spanmeter.wire.protobuf import decode_protobuf
from tests.bench.loads import Load, template_of

LOADS = (
    Load(name="LLM spans", spans=512),
    Load(name="5 % LLM", spans=512, is_mix=True),
    Load(name="LLM spans, 4 KB of text", spans=512, text_bytes=4096),
    Load(name="LLM spans", spans=1),
)
STAGES = ("OTLP's parser alone", "decoded and recognised", "encoded", "appended")
ROUNDS, TOGETHER = 5, 4

T = TypeVar("T")


def stages_of(kind: Load, requests: int) -> list[float]:
    """In the order of `STAGES`."""
    recogniser = configured_recogniser(load({}))
    vocabulary = recogniser.vocabulary()
    template = template_of(kind, seed=1)
    numbers = iter(range(requests * (2 * ROUNDS + 1)))

    def fresh() -> list[bytes]:
        """Bodies that were never seen."""
        return [template.request(next(numbers)) for _ in range(requests)]

    def recognised(bodies: list[bytes]) -> list[JournalEntry]:
        return [journal_entry(decode_protobuf(body, vocabulary), recogniser, received_ns=1) for body in bodies]

    def append(entries: list[JournalEntry]) -> None:
        for at in range(0, len(entries), TOGETHER):
            journal.append(entries[at : at + TOGETHER])

    recognised(fresh())  # what the first spans of a form cost is no figure of the others
    bodies = [fresh() for _ in range(ROUNDS)]
    entries = [recognised(some) for some in bodies]
    with tempfile.TemporaryDirectory() as folder, closing(Database.open(Path(folder))) as database:
        journal = SqliteJournal(database)
        took = [
            _least(lambda some: [ExportTraceServiceRequest.FromString(body) for body in some], bodies),
            _least(recognised, (fresh() for _ in range(ROUNDS))),
            _least(lambda some: [encoded(entry.facts) for entry in some], entries),
            _least(append, entries),
        ]
    return [1e6 * seconds / requests / kind.spans for seconds in took]


def _least(work: Callable[[T], object], given: Iterable[T]) -> float:
    """CPU seconds of the cheapest round."""
    least = float("inf")
    for each in given:
        begun_s = time.process_time()
        work(each)
        least = min(least, time.process_time() - begun_s)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stages", description=__doc__)
    parser.add_argument("--requests", type=int, default=40, help="of each load, in a round")
    chosen = parser.parse_args()
    sys.stdout.write(f"| µs a span | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}\n")
    for kind in LOADS:
        figures = " | ".join(f"{micros:.2f}" for micros in stages_of(kind, chosen.requests))
        sys.stdout.write(f"| {kind.name}, {kind.spans} a request | {figures} |\n")


if __name__ == "__main__":
    main()
