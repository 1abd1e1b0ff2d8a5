"""`explain`: why each span was billed, or not."""

import click


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a span.")
def explain(files: tuple[str, ...], as_json: bool) -> None:
    """Print for each LLM span of recorded OTLP traces what spanmeter makes of it, and by which rule.

    The dialect that recognised it, the counts in disjoint classes, the tenant and where it was found, the outcome with
    its reason, and the identity that its events bear. FILE as for `spanmeter convert`.
    """
    import time

    import msgspec

    from spanmeter.cli.environment import settings_from_environment
    from spanmeter.ledger.explanation import explanation
    from spanmeter.pipeline.configured import configured_recogniser, configured_rules
    from spanmeter.pipeline.conversion import Conversion
    from spanmeter.wire.files import read_file

    settings = settings_from_environment()
    recogniser = configured_recogniser(settings)
    conversion = Conversion(recogniser, configured_rules(settings), time.time_ns())
    for file in files:
        conversion.add(read_file(file, recogniser.vocabulary()))
    for decision in sorted(conversion.settle().all_decisions(), key=lambda one: (one.span.start_ns, one.span.span_id)):
        told = explanation(decision)
        if as_json:
            click.echo(msgspec.json.encode(told).decode())
            continue
        click.echo(f"{told.outcome}: {told.reason}")
        click.echo(f"    span      {told.trace_id} {told.span_id}, {told.seconds:.3f} s, scope {told.scope or '–'}")
        click.echo(f"    dialect   {told.dialect}, {told.role}, operation {told.operation or '(none)'}")
        click.echo(f"    model     {told.model or '(none)'}, provider {told.provider or '(none)'}")
        click.echo(f"    tokens    {told.tokens}")
        if told.tenant or told.candidates:
            found = f"{told.tenant} (by {told.tenant_from})" if told.tenant else f"one of {', '.join(told.candidates)}"
            click.echo(f"    tenant    {found}")
        if told.identity:
            click.echo(f"    identity  {told.identity}")
