"""`convert`: recorded OTLP in, CloudEvents out."""

from typing import BinaryIO

import click


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--summary", metavar="FILE", help="Write the summary of outcomes to FILE as JSON (- for standard error).")
@click.option("-q", "--quiet", is_flag=True, help="No summary on standard error.")
def convert(files: tuple[str, ...], summary: str | None, quiet: bool) -> None:
    """Print the CloudEvents that recorded OTLP traces would be billed as, one JSON a line.

    FILE is an OTLP trace request as protobuf or JSON, or JSON lines as the OpenTelemetry Collector's file exporter
    writes them; each also gzipped; - is standard input. All files are decided together. A summary of outcomes goes to
    standard error. Nothing is printed if any file is broken (exit 2). No network, nothing stored.
    """
    import sys
    import time

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.cli.tables import outcome_rows, print_table
    from spanmeter.pipeline.configured import configured_recogniser, configured_rules
    from spanmeter.pipeline.conversion import Conversion
    from spanmeter.wire.files import read_file

    settings = settings_from_environment()
    if not files:  # an empty list of recordings is no mistake: a script may have found none
        click.echo("no FILE given, nothing to convert; - reads standard input", err=True)
    recogniser = configured_recogniser(settings)
    vocabulary = recogniser.vocabulary()
    conversion = Conversion(recogniser, configured_rules(settings), time.time_ns())
    for file in files:
        conversion.add(read_file(file, vocabulary))
    settlement = conversion.settle()
    summary_file = _opened(summary) if summary not in (None, "-") else None  # before anything is printed
    for body in settlement.bodies:
        sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()
    outcomes = outcome_rows(settlement.tallies)
    document = {
        "requests": conversion.requests,
        "spans": conversion.spans,
        "llm_spans": conversion.llm_spans,
        "events": len(settlement.events),
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
            f"{len(settlement.events)} events",
            err=True,
        )
        print_table(
            ["outcome", "reason", "spans", "input tokens", "output tokens"],
            [list(row.values()) for row in outcomes],
            err=True,
        )


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
