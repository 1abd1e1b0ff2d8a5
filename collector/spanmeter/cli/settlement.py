"""`settlement`: what the service holds of what was sent."""

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def settlement(as_json: bool) -> None:
    """Show what was read back from the service: settled, missing, absent, and what it will not bill.

    The service takes events that no meter counts, or whose subject is no customer's; it says so only when they are read
    back. An event that is not there ten minutes after it was taken is sent again under the same id, three times at
    growing intervals and within a day of being taken; after that it is absent. Complaints are looked at again every
    hour: who makes the meter or the customer mends old events too.

    Exits with 1 if an event is absent or complained of.
    """
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.cli.tables import print_table
    from spanmeter.ledger.settlement import missing_rows, read_settlement
    from spanmeter.store.database import Database

    settings = settings_from_environment()
    database = Database.open_existing(settings.data_dir)
    if database is None:
        click.echo("{}" if as_json else f"nothing was ever received in {settings.data_dir}")
        return
    with database.snapshot():
        state, missing = read_settlement(database), missing_rows(database)
    database.close()
    if as_json:
        click.echo(msgspec.json.encode(asdict(state) | {"events": [asdict(row) for row in missing]}).decode())
    else:
        click.echo(f"{state.settled:,} settled, {state.sent:,} sent and not read back, {state.absent:,} absent")
        if state.notice:
            click.echo(state.notice)
        if state.complaints:
            click.echo("\nThe service holds these events and does not bill them:")
            print_table(
                ["events", "tokens", "tenant", "reason"],
                [[row.events, row.tokens, row.subject, row.message] for row in state.complaints],
            )
        if missing:
            click.echo("\nTaken by the service, and not there:")
            print_table(
                ["id", "tenant", "tokens", "looked for", "sent again", "state"],
                [
                    [row.id, row.subject, row.tokens, row.missed[:19] + "Z", row.resent, _word(row.absent)]
                    for row in missing
                ],
            )
    if state.absent or state.complaints:
        raise SystemExit(1)


def _word(absent: bool) -> str:
    return "absent" if absent else "sent again"
