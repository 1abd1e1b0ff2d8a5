"""`convert`: recorded OTLP in, CloudEvents out."""

import itertools
from collections.abc import Iterator
from typing import BinaryIO

import click

_LINES_AT_ONCE = 1_000


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--jobs", type=click.IntRange(min=0), default=1, show_default=True, help="Cores to use; 0 for all.")
@click.option(
    "--window",
    type=click.IntRange(min=1_000),
    default=30_000,
    show_default=True,
    metavar="SPANS",
    help="LLM spans that may wait for the rest of their traces.",
)
@click.option("--summary", metavar="FILE", help="Write the summary of outcomes to FILE as JSON (- for standard error).")
@click.option("-q", "--quiet", is_flag=True, help="No summary and no progress on standard error.")
def convert(files: tuple[str, ...], jobs: int, window: int, summary: str | None, quiet: bool) -> None:
    """Print the CloudEvents that recorded OTLP traces would be billed as, one JSON a line.

    FILE is an OTLP trace request as protobuf or JSON, or JSON lines as the OpenTelemetry Collector's file exporter
    writes them; each also gzipped; - is standard input. A summary of outcomes goes to standard error. No network,
    nothing stored.

    All files are decided together, and nothing is printed if any is broken (exit 2), as long as they hold no more than
    --window LLM spans. Beyond, memory stays constant: the traces not heard of for longest are decided and printed
    first; half as many traces as that, and as many calls, are remembered afterwards. Spans of one trace, or records of
    one call, that are further apart in the files than that may be billed differently.
    """
    import sys
    import time

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.cli.progress import Watched, is_watched
    from spanmeter.cli.tables import outcome_rows, print_table
    from spanmeter.heap import collect_rarely, hold_little
    from spanmeter.pipeline.configured import configured_recogniser, configured_rules
    from spanmeter.pipeline.conversion import Conversion, settlements
    from spanmeter.pipeline.recorded import recorded_entries
    from spanmeter.settings import usable_cores
    from spanmeter.wire.files import read_pieces

    hold_little()
    collect_rarely(10 * window)  # a span that waits is hardly as many objects
    settings = settings_from_environment()
    if not files:  # an empty list of recordings is no mistake: a script may have found none
        click.echo("no FILE given, nothing to convert; - reads standard input", err=True)
    now_ns = time.time_ns()
    conversion = Conversion(configured_recogniser(settings), configured_rules(settings), now_ns, window)
    output = _Output(sys.stdout.buffer)
    watched = Watched(
        files,
        sys.stderr,
        shown=not quiet and is_watched(sys.stderr) and not sys.stdout.isatty(),  # between events it could not be read
        counts=lambda: (conversion.spans, output.events),
    )
    pieces = watched.through(piece for file in files for piece in read_pieces(file))
    jobs = jobs or usable_cores()
    if jobs > 1:
        from spanmeter.pipeline.cores import entries_on_cores

        entries = entries_on_cores(pieces, settings, received_ns=now_ns, jobs=jobs)
    else:
        entries = recorded_entries(pieces, settings, received_ns=now_ns)
    summary_file = None
    with watched:
        for settlement in settlements(conversion, entries):
            if summary not in (None, "-") and summary_file is None:
                summary_file = _opened(summary)  # before anything is printed
            output.write(settlement.all_bodies())
            watched.tell_now()
        sys.stdout.buffer.flush()
    outcomes = outcome_rows(conversion.tallies)
    document = {
        "requests": conversion.requests,
        "spans": conversion.spans,
        "llm_spans": conversion.llm_spans,
        "events": output.events,
        "outcomes": outcomes,
    }
    if summary == "-":
        click.echo(msgspec.json.encode(document).decode(), err=True)
    elif summary_file is not None:
        with summary_file:
            summary_file.write(msgspec.json.encode(document) + b"\n")
    if not quiet and summary != "-":
        click.echo(
            f"{conversion.requests} requests, {conversion.spans} spans, {conversion.llm_spans} LLM spans, "
            f"{output.events} events",
            err=True,
        )
        print_table(
            ["outcome", "reason", "spans", "input tokens", "output tokens"],
            [list(row.values()) for row in outcomes],
            err=True,
        )


class _Output:
    """One event a line, and how many `events` there were."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.events = 0

    def write(self, bodies: Iterator[bytes]) -> None:
        while some := [*itertools.islice(bodies, _LINES_AT_ONCE)]:
            write_all(self._stream, b"\n".join([*some, b""]))
            self.events += len(some)


def write_all(stream: BinaryIO, text: bytes) -> None:
    """Where PYTHONUNBUFFERED is set, as in many containers, standard output is raw: it may take a part only, on a disk
    that is nearly full, and say so by a number."""
    rest = memoryview(text)
    while rest:
        rest = rest[stream.write(rest) :]


def _opened(path: str | None) -> BinaryIO:
    from pathlib import Path

    from spanmeter.errors import UsageError

    file = Path(path or "")
    try:
        if file.is_file() and file.stat().st_size and not file.read_bytes().startswith(b'{"requests":'):
            # `convert --summary trace.bin` would otherwise end a recording.
            raise UsageError(f"--summary {path}: this file is no summary, and is not overwritten")
        return file.open("wb")
    except OSError as error:
        raise UsageError(f"--summary {path}: {error.strerror}") from error
