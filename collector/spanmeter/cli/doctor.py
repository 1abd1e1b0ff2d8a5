"""`doctor`: would billing be right?"""

import click


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object: `ok`, and `checks` with verdict, said and todo."
)
def doctor(as_json: bool) -> None:
    """Check what billing depends on, and say what to do.

    Settings; the data folder (write, fsync, room, who works on it); the service (network, token, clock, meters that
    count these events, region); the sampler; every GenAI instrumentation that is installed. No usage is sent: the token
    is tried with an empty batch. Exits with 1 if a check is wrong: then calls would not be billed, or not rightly.
    """
    from dataclasses import asdict

    import msgspec

    from spanmeter.doctor.examination import examine
    from spanmeter.doctor.finding import Verdict

    found = []
    for finding in examine():
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.verdict.value:8}{finding.check}: {finding.said}")
            if finding.todo:
                click.echo(f"        → {finding.todo}")
    wrong = any(finding.verdict is Verdict.WRONG for finding in found)
    if as_json:
        click.echo(msgspec.json.encode({"ok": not wrong, "checks": [asdict(finding) for finding in found]}).decode())
    if wrong:
        raise SystemExit(1)
