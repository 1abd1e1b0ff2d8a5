"""`parked` and `unmetered`: work for a person."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spanmeter.pipeline.review import Review, Selection


@click.group()
def parked() -> None:
    """Calls that nobody was billed for: no tenant, several tenants, a sum without its calls, or guessed counts.

    `list` shows them, `assign` bills them with the time at which they were made, `accept` bills guessed counts to the
    tenant that they name, `discard` decides that nobody pays.
    """


def _selecting(command: Any) -> Any:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All parked calls."),
        click.option(
            "--where",
            "where",
            multiple=True,
            metavar="NAME=VALUE",
            help="Calls with this property, as `list --json` shows them: model, session.id, … May be repeated.",
        ),
        click.option("--span", "span_id", default="", metavar="ID", help="The span's id in hex, or its beginning."),
        click.option("--trace", "trace_id", default="", metavar="ID", help="The trace's id in hex, or its beginning."),
    ):
        command = option(command)
    return command


@parked.command("list")
@_selecting
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with all properties.")
def list_parked(trace_id: str, span_id: str, where: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Show parked calls, those that wait longest first."""
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.tables import print_table
    from spanmeter.ledger.explanation import explanation
    from spanmeter.pipeline.review import properties
    from spanmeter.usage.event import rfc3339

    chosen = trace_id or span_id or where
    selection = _selection(trace_id, span_id, where, everything=everything or not chosen)
    with _review() as review:
        held = review.select(selection)
    if as_json:
        for one in held:
            told = asdict(explanation(one.decision)) | {"properties": properties(one.decision)}
            click.echo(msgspec.json.encode(told).decode())
    elif held:
        print_table(
            ["since", "trace", "span", "reason", "model", "input", "output", "could be"],
            [
                [
                    rfc3339(one.held_ns)[:19] + "Z",
                    one.decision.span.trace_id.hex()[:12],
                    one.decision.span.span_id.hex(),
                    one.decision.reason.value,
                    properties(one.decision)["model"],
                    *_tokens(one.decision.call.usage),
                    ", ".join(one.decision.attribution.candidates)
                    or ", ".join(f"{name}={value}" for name, value in one.decision.span.hints),
                ]
                for one in held
            ],
        )
    else:
        click.echo("nothing is parked")


@parked.command()
@click.argument("tenant")
@_selecting
def assign(tenant: str, trace_id: str, span_id: str, where: tuple[str, ...], everything: bool) -> None:
    """Bill parked calls to TENANT."""
    with _review() as review:
        _tell(review.assign(_selection(trace_id, span_id, where, everything=everything), tenant), f"billed to {tenant}")


@parked.command()
@_selecting
def accept(trace_id: str, span_id: str, where: tuple[str, ...], everything: bool) -> None:
    """Bill calls that wait only because their counts are a guess, to the tenants that they name."""
    with _review() as review:
        _tell(review.accept(_selection(trace_id, span_id, where, everything=everything)), "billed as estimated")


@parked.command()
@_selecting
def discard(trace_id: str, span_id: str, where: tuple[str, ...], everything: bool) -> None:
    """Decide that nobody is billed for parked calls."""
    with _review() as review:
        _tell(review.discard(_selection(trace_id, span_id, where, everything=everything)), "discarded")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a row.")
def unmetered(as_json: bool) -> None:
    """Show LLM calls without believable token counts: which model, which instrumentation, how many, how to mend it."""
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.cli.tables import print_table
    from spanmeter.ledger.unmetered import unmetered_rows
    from spanmeter.store.database import Database
    from spanmeter.store.ledger import SqliteLedger

    database = Database.open_existing(settings_from_environment().data_dir)
    rows = unmetered_rows(SqliteLedger(database)) if database is not None else []
    if database is not None:
        database.close()
    if as_json:
        click.echo(msgspec.json.encode([asdict(row) for row in rows]).decode())
    elif rows:
        print_table(
            ["calls", "reason", "model", "instrumentation", "service", "last"],
            [[row.calls, row.reason, row.model, row.scope, row.service, row.last] for row in rows],
        )
        click.echo()
        for advice in dict.fromkeys(row.advice for row in rows):
            click.echo(advice)
    else:
        click.echo("every LLM call had token counts")


def _selection(trace_id: str, span_id: str, where: tuple[str, ...], *, everything: bool) -> "Selection":
    from spanmeter.cli.environment import name_value_pairs
    from spanmeter.pipeline.review import Selection

    return Selection(trace_id=trace_id, span_id=span_id, where=name_value_pairs(where), everything=everything)


class _review:
    """The data folder's review, closed afterwards."""

    def __enter__(self) -> "Review":
        from spanmeter.cli.environment import open_used_database, settings_from_environment
        from spanmeter.clock import SystemClock
        from spanmeter.pipeline.configured import configured_rules
        from spanmeter.pipeline.review import Review
        from spanmeter.store.ledger import SqliteLedger
        from spanmeter.worker import is_delivered_from

        settings = settings_from_environment()
        self._database = open_used_database(settings)
        return Review(
            SqliteLedger(self._database),
            rules=configured_rules(settings),
            clock=SystemClock(),
            deliver=settings.delivers or is_delivered_from(settings.data_dir, self._database),
        )

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _tokens(usage: Any) -> tuple[int, int]:
    return (usage.all_input, usage.all_output) if usage is not None else (0, 0)


def _tell(decisions: Any, what: str) -> None:
    from spanmeter.usage.outcome import Outcome

    duplicates = sum(decision.outcome is Outcome.DUPLICATE for decision in decisions)
    click.echo(f"{len(decisions) - duplicates} calls {what}")
    if duplicates:
        click.echo(f"{duplicates} turned out to be calls that are billed already")
