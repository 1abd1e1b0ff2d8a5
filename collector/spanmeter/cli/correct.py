"""`correct`: an adjusting event for one that was wrong."""

import click


@click.command()
@click.argument("event_id", metavar="[ID]", required=False)
@click.option("--tokens", type=int, default=None, metavar="-N", help="Add so many tokens; negative takes away.")
@click.option("--void", is_flag=True, help="Take back all tokens that are left.")
@click.option("--reason", default="", metavar="TEXT", help="Why. Kept in the ledger and sent along.")
@click.option(
    "--at",
    type=click.Choice(["call", "now"]),
    default="call",
    show_default=True,
    help="When the correction counts: with the call, or now, if the invoice of that time has been issued.",
)
@click.option("--again", is_flag=True, help="Also if the same was corrected for the same reason before.")
@click.option("--list", "listed", is_flag=True, help="Show all corrections.")
@click.option("--json", "as_json", is_flag=True, help="The adjusting event; with --list one JSON object a line.")
def correct(
    event_id: str | None,
    tokens: int | None,
    void: bool,
    reason: str,
    at: str,
    again: bool,
    listed: bool,
    as_json: bool,
) -> None:
    """Send an adjusting event for the event ID: what was billed is never edited.

    ID is an event's id, as in `spanmeter convert` and in Konnect: it ends in the token class. The adjusting event is
    `ID-correction-1`, -2, …, with negative tokens, for the same tenant, model and class; `spanmeter usage` shows the
    sum, which cannot fall below zero. A meter that sums `$.tokens` subtracts it. Meters of another aggregation do not:
    grant the customer a credit in Konnect instead.
    """
    import msgspec

    from spanmeter.cli.environment import open_used_database, settings_from_environment
    from spanmeter.clock import SystemClock
    from spanmeter.errors import UsageError
    from spanmeter.ledger.correction import Corrections
    from spanmeter.store.correction import SqliteCorrectionBook

    if listed:
        _list(as_json=as_json)
        return
    if event_id is None or (tokens is None) is not void:
        raise UsageError("what is to be corrected?", hint="name an ID and either --tokens -N or --void")
    database = open_used_database(settings_from_environment())
    clock = SystemClock()
    time_ns = clock.now_ns() if at == "now" else None
    corrections = Corrections(SqliteCorrectionBook(database), clock=clock)
    try:
        if tokens is None:
            event = corrections.void(event_id, reason=reason, time_ns=time_ns)
        else:
            event = corrections.adjust(event_id, tokens=tokens, reason=reason, time_ns=time_ns, again=again)
    finally:
        database.close()
    if as_json:
        click.echo(msgspec.json.encode(event.cloudevent()).decode())
    else:
        click.echo(f"{event.id}: {event.tokens:+,} tokens for {event.subject}")


def _list(*, as_json: bool) -> None:
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import open_used_database, settings_from_environment
    from spanmeter.cli.tables import print_table
    from spanmeter.store.correction import SqliteCorrectionBook
    from spanmeter.usage.event import rfc3339

    database = open_used_database(settings_from_environment())
    rows = SqliteCorrectionBook(database).all()
    database.close()
    for row in rows if as_json else ():
        told = asdict(row) | {"time": rfc3339(row.time_ns), "made": rfc3339(row.made_ns)}
        click.echo(msgspec.json.encode({name: told[name] for name in told if not name.endswith("_ns")}).decode())
    if not as_json:
        print_table(
            ["made", "id", "tenant", "tokens", "reason"],
            [[rfc3339(row.made_ns)[:19] + "Z", row.id, row.subject, row.tokens, row.reason] for row in rows],
        )
        if not rows:
            click.echo("nothing was corrected")
