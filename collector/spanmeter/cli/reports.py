"""`usage` and `status`: reading the books."""

import click

MOST_COMPLAINTS = 10


@click.command()
@click.option(
    "--by",
    "period",
    type=click.Choice(["hour", "day", "month", "all"]),
    default="all",
    show_default=True,
    help="Length of a row's period (UTC).",
)
@click.option("--since", default="", metavar="TIME", help="From this date or time on, such as 2026-11-01.")
@click.option("--until", default="", metavar="TIME", help="Before this date or time.")
@click.option("--tenant", default="", help="Only this tenant.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a row.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header line.")
def usage(period: str, since: str, until: str, tenant: str, as_json: bool, as_csv: bool) -> None:
    """Show what was metered: tokens by tenant, period, model and token class."""
    import csv
    import sys
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.cli.tables import print_table
    from spanmeter.errors import UsageError
    from spanmeter.ledger.report import Period, usage_rows
    from spanmeter.store.database import Database

    if as_json and as_csv:
        raise UsageError("--json and --csv cannot both be had")
    settings = settings_from_environment()
    database = Database.open_existing(settings.data_dir)
    rows = usage_rows(database, period=Period(period), since=since, until=until, tenant=tenant) if database else []
    objects = [asdict(row) for row in rows]
    head = ["tenant", "period", "model", "token_class", "events", "tokens"]
    if as_json:
        click.echo(msgspec.json.encode(objects).decode())
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, head)
        writer.writeheader()
        writer.writerows(objects)
    elif rows:
        shown = [name for name in head if name != "period" or period != "all"]
        print_table([name.replace("_", " ") for name in shown], [[row[name] for name in shown] for row in objects])
    else:
        click.echo(f"nothing metered in {settings.data_dir}")
    if database is not None:
        database.close()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> None:
    """Show what was received and what became of it, the journal, the outbox and the last delivery.

    Exits with 1 if the books do not balance, delivery is halted, there are dead letters, or the service lacks events
    that it took or holds some that it does not bill.
    """
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.ledger.status import read_status
    from spanmeter.store.database import Database

    settings = settings_from_environment()
    database = Database.open_existing(settings.data_dir)
    if database is None:
        click.echo("{}" if as_json else f"nothing was ever received in {settings.data_dir}")
        return
    state = read_status(database)
    database.close()
    if as_json:
        click.echo(msgspec.json.encode(asdict(state)).decode())
    else:
        _print_status(state)
    settlement = state.settlement
    if (
        not state.balanced
        or state.delivery.state == "halted"
        or state.delivery.dead_letters
        or settlement.absent
        or settlement.complaints
    ):
        raise SystemExit(1)


def _print_status(state: "Status") -> None:  # type: ignore[name-defined] # noqa: F821
    from spanmeter.cli.tables import print_table

    received, delivery, settlement = state.received, state.delivery, state.settlement
    click.echo(f"received   {received.requests:,} requests, {received.spans:,} spans, {received.llm_spans:,} LLM spans")
    click.echo(f"journal    {state.journal_rows:,} requests, {state.undecided.spans:,} LLM spans not decided yet")
    given_up = f", {delivery.discarded:,} given up" if delivery.discarded else ""
    click.echo(f"outbox     {delivery.pending:,} events waiting, {delivery.dead_letters:,} dead letters{given_up}")
    if delivery.oldest_pending:
        click.echo(f"           oldest waits since {delivery.oldest_pending}")
    if delivery.local_only:
        click.echo(f"local      {delivery.local_only:,} events recorded while there was no service to send them to")
    click.echo(f"delivery   {delivery.state}" + (f", last {delivery.last_delivery}" if delivery.last_delivery else ""))
    if delivery.hint:
        click.echo(f"           {delivery.hint}")
    if delivery.last_error:
        click.echo(f"last error {delivery.last_error_at} {delivery.last_error}")
    if settlement.sent or settlement.settled or settlement.notice:
        click.echo(
            f"settlement {settlement.settled:,} settled, {settlement.sent:,} sent and not read back, "
            f"{settlement.absent:,} absent"
        )
    if settlement.notice:
        click.echo(f"           {settlement.notice}")
    for row in settlement.complaints[:MOST_COMPLAINTS]:
        click.echo(f"           {row.events:,} events of {row.subject} are not billed: {row.message}")
    if len(settlement.complaints) > MOST_COMPLAINTS:
        click.echo(f"           and {len(settlement.complaints) - MOST_COMPLAINTS:,} more: `spanmeter settlement`")
    for library in state.unseen[:MOST_COMPLAINTS]:
        click.echo(
            f"not seen   {library.library} {library.version} in {library.processes:,} processes of {library.program}, "
            f"last {library.last}: `spanmeter bootstrap`"
        )
    if state.unmetered:
        models = ", ".join(f"{row.model or '?'} {row.calls:,}" for row in state.unmetered[:MOST_COMPLAINTS])
        click.echo(f"no usage   {models}: `spanmeter unmetered`")
    balanced = "received = outcomes + not decided" if state.balanced else "BOOKS DO NOT BALANCE: please report this"
    click.echo(f"books      {balanced}\n")
    print_table(
        ["outcome", "reason", "spans", "input tokens", "output tokens"],
        [[row.outcome, row.reason, row.spans, row.input_tokens, row.output_tokens] for row in state.outcomes],
    )
