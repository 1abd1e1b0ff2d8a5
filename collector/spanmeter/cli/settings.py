"""`settings`: every setting, and what it is now."""

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a setting.")
@click.option("--markdown", is_flag=True, help="The table of the README: without present values.")
def settings(as_json: bool, markdown: bool) -> None:
    """Print every setting with its type, unit, default and present value. Secrets are masked."""
    from dataclasses import asdict

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.settings import load, rows

    table = rows(load({}) if markdown else settings_from_environment())
    if markdown:
        click.echo("| variable | type | default | meaning |\n|---|---|---|---|")
        for row in table:
            unit = f" ({row.unit})" if row.unit else ""
            shown = f"`{row.default.replace(',', ', ')}`" if row.default else "–"
            click.echo(f"| `{row.variable}` | {row.type}{unit} | {shown} | {row.description} |")
        return
    if as_json:
        click.echo(msgspec.json.encode([asdict(row) for row in table]).decode())
        return
    for row in table:
        unit = f" {row.unit}" if row.unit else ""
        click.echo(f"{row.variable}={row.value}")
        click.echo(f"    {row.type}{unit}, default {row.default or 'none'}. {row.description}")
