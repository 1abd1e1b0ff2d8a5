"""`replay`: events of the past, sent again."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanmeter.delivery.replay import Replay, ReplayRange, ReplayResult
    from spanmeter.store.redelivery import Whereabouts


@click.command()
@click.option("--from", "since", required=True, metavar="TIME", help="From this date or time on, such as 2026-11-01.")
@click.option("--to", "until", required=True, metavar="TIME", help="Before this date or time.")
@click.option("--tenant", default="", help="Only this tenant.")
@click.option("--local", "local_only", is_flag=True, help="Only events recorded while there was no service.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, change nothing.")
@click.option("--force", is_flag=True, help="Also events that were taken more than 24 h ago: they may be billed twice.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def replay(since: str, until: str, tenant: str, local_only: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Put events of a time back into the outbox, under the ids that they had.

    The time is that at which the call ended, as in `spanmeter usage`. The service drops an id that it has seen, but
    only for a while: Konnect does not state how long, OpenMeter's documentation says 32 days for a self-hosted one that
    is configured so. Events that were taken more than 24 h ago are therefore refused, all of the range, unless you say
    --force. Events recorded while there was no service were never sent: for them there is no such danger. What waits
    already stays; for refused events there is `spanmeter dead-letters`. A running collector, or `spanmeter deliver`,
    sends them.
    """
    import msgspec

    from spanmeter.cli.environment import open_used_database, settings_from_environment
    from spanmeter.clock import SystemClock
    from spanmeter.delivery.replay import Replay, ReplayRange, check
    from spanmeter.errors import UsageError
    from spanmeter.ledger.report import parse_time_ns
    from spanmeter.store.redelivery import SqliteRedelivery

    chosen = ReplayRange(
        from_ns=parse_time_ns(since), to_ns=parse_time_ns(until), subject=tenant, local_only=local_only
    )
    if chosen.from_ns >= chosen.to_ns:
        raise UsageError(f"--from {since} is not before --to {until}")
    settings = settings_from_environment()
    if not settings.delivers and not dry_run:
        raise UsageError("there is no service to send to", hint="set KONNECT_TOKEN or SPANMETER_ENDPOINT")
    database = open_used_database(settings)
    try:
        replaying = Replay(SqliteRedelivery(database), clock=SystemClock())
        result = _with_progress(replaying, chosen, dry_run=True)
        if not force:
            check(result)
        if not dry_run:
            result = _with_progress(replaying, chosen, dry_run=False)
    finally:
        database.close()
    count = result.put_back.total()
    if as_json:
        told = {
            "put_back": count,
            "dry_run": dry_run,
            "from_where": {where.value: number for where, number in result.put_back.items() if number},
            "left": {where.value: number for where, number in result.left.items() if number},
            "taken_long_ago": result.too_old,
        }
        click.echo(msgspec.json.encode(told).decode())
        return
    click.echo(f"{count:,} events {'would be put' if dry_run else 'are'} in the outbox again{_listed(result.put_back)}")
    if result.left.total():
        click.echo(f"{result.left.total():,} events of that time stay where they are{_listed(result.left)}")


def _with_progress(replaying: "Replay", chosen: "ReplayRange", *, dry_run: bool) -> "ReplayResult":
    """One pass over the events, with a line that grows where somebody looks."""
    import functools
    import sys

    from spanmeter.cli.progress import Counted, is_watched

    act = replaying.plan if dry_run else functools.partial(replaying.run, force=True)
    if not is_watched(sys.stderr):
        return act(chosen)
    label = "looked at" if dry_run else "put back"
    with Counted(label, replaying.count(chosen), sys.stderr, shown=True) as line:
        return act(chosen, progress=line.add)


def _listed(numbers: "Mapping[Whereabouts, int]") -> str:
    words = {
        "sent": "sent before",
        "settled": "settled before",
        "local": "recorded without a service",
        "waiting": "waiting already",
        "refused": "refused",
        "forgotten": "made too long ago to be sent again",
    }
    parts = [f"{number:,} {words[where.value]}" for where, number in numbers.items() if number]
    return f": {', '.join(parts)}" if parts else ""
