"""`dead-letters`: events that the service refused."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spanmeter.delivery.dead_letters import DeadLetters, LetterSelection
    from spanmeter.store.redelivery import DeadLetter


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that the service refused, with its words.

    `list` and `show` show them, `retry` sends them again under the same ids when the cause is mended, `discard` decides
    that they are given up: they stay in the ledger with the reason.
    """


def _selecting(command: Any) -> Any:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All dead letters."),
        click.option(
            "--where",
            multiple=True,
            metavar="NAME=VALUE",
            help="Events with this property, as `list --json` shows them: tenant, model, type, … May be repeated.",
        ),
        click.option("--status", type=int, default=None, metavar="N", help="Refused with this HTTP status."),
        click.option("--id", "ids", multiple=True, metavar="ID", help="The event's id. May be repeated."),
    ):
        command = option(command)
    return command


@dead_letters.command("list")
@_selecting
@click.option("--discarded", is_flag=True, help="Those that were given up.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the event.")
def list_letters(
    ids: tuple[str, ...], status: int | None, where: tuple[str, ...], everything: bool, discarded: bool, as_json: bool
) -> None:
    """Show dead letters, the oldest event first."""
    from spanmeter.cli.tables import print_table
    from spanmeter.delivery.dead_letters import letter_properties
    from spanmeter.usage.event import rfc3339

    chosen = ids or status is not None or where
    selection = _selection(ids, status, where, everything=everything or not chosen)
    with _opened() as letters:
        found = letters.given_up(selection) if discarded else letters.waiting(selection)
        if as_json:
            for letter in found:
                click.echo(_json(letter))
            return
        rows = [
            [
                rfc3339(letter.buried_ns)[:19] + "Z",
                letter.id,
                letter.subject,
                letter_properties(letter).get("model", ""),
                str(letter.status),
                letter.refusal,
                *([letter.why] if discarded else []),
            ]
            for letter in found
        ]
    head = ["since", "id", "tenant", "model", "status", "the service's words", *(["given up"] if discarded else [])]
    print_table(head, rows)
    if not rows:
        click.echo("nothing was given up" if discarded else "no dead letters")


@dead_letters.command()
@click.argument("event_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def show(event_id: str, as_json: bool) -> None:
    """Show one dead letter in full. ID is its event's id, or how that begins."""
    import msgspec

    from spanmeter.delivery.dead_letters import cloudevent
    from spanmeter.usage.event import rfc3339

    with _opened() as letters:
        found = letters.find(event_id)
    for letter in found:
        if as_json:
            click.echo(_json(letter))
            continue
        click.echo(f"{letter.id}\n    refused   {rfc3339(letter.buried_ns)} with HTTP {letter.status}")
        click.echo(f"    words     {letter.refusal}")
        if letter.discarded_ns:
            click.echo(f"    given up  {rfc3339(letter.discarded_ns)}: {letter.why}")
        click.echo(msgspec.json.format(msgspec.json.encode(cloudevent(letter)), indent=2).decode())


@dead_letters.command()
@_selecting
@click.option("--json", "as_json", is_flag=True, help='One JSON object: {"retried": N}.')
def retry(ids: tuple[str, ...], status: int | None, where: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Put dead letters back into the outbox, under the same ids, for when the cause is mended."""
    with _opened() as letters:
        _tell("retried", letters.retry(_selection(ids, status, where, everything=everything)), as_json=as_json)


@dead_letters.command()
@_selecting
@click.option("--reason", required=True, metavar="TEXT", help="Why nobody is billed for them. Kept in the ledger.")
@click.option("--json", "as_json", is_flag=True, help='One JSON object: {"discarded": N}.')
def discard(
    ids: tuple[str, ...], status: int | None, where: tuple[str, ...], everything: bool, reason: str, as_json: bool
) -> None:
    """Decide that dead letters are given up: nobody is billed for them."""
    with _opened() as letters:
        count = letters.discard(_selection(ids, status, where, everything=everything), why=reason)
    _tell("discarded", count, as_json=as_json)


def _tell(what: str, count: int, *, as_json: bool) -> None:
    import msgspec

    words = {"retried": "are in the outbox again", "discarded": "are given up"}[what]
    click.echo(msgspec.json.encode({what: count}).decode() if as_json else f"{count:,} dead letters {words}")


def _json(letter: "DeadLetter") -> str:
    import msgspec

    from spanmeter.delivery.dead_letters import cloudevent, letter_properties
    from spanmeter.usage.event import rfc3339

    told: dict[str, object] = {
        "id": letter.id,
        "refused": rfc3339(letter.buried_ns),
        "status": letter.status,
        "refusal": letter.refusal,
        "discarded": rfc3339(letter.discarded_ns) if letter.discarded_ns else "",
        "reason": letter.why,
        "event": cloudevent(letter),
        "properties": letter_properties(letter),
    }
    return msgspec.json.encode(told).decode()


def _selection(
    ids: tuple[str, ...], status: int | None, where: tuple[str, ...], *, everything: bool
) -> "LetterSelection":
    from spanmeter.cli.environment import name_value_pairs
    from spanmeter.delivery.dead_letters import LetterSelection

    return LetterSelection(ids=ids, status=status, where=name_value_pairs(where), everything=everything)


class _opened:
    """The data folder's dead letters, closed afterwards."""

    def __enter__(self) -> "DeadLetters":
        from spanmeter.cli.environment import open_used_database, settings_from_environment
        from spanmeter.clock import SystemClock
        from spanmeter.delivery.dead_letters import DeadLetters
        from spanmeter.store.redelivery import SqliteRedelivery

        self._database = open_used_database(settings_from_environment())
        return DeadLetters(SqliteRedelivery(self._database), clock=SystemClock())

    def __exit__(self, *_: object) -> None:
        self._database.close()
