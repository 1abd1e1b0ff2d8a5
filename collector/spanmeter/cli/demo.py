"""`demo`: the whole way on one machine."""

import click


@click.command()
@click.option("--keep", metavar="DIR", help="Keep the ledger in DIR, for `spanmeter usage` and `status` afterwards.")
def demo(keep: str | None) -> None:
    """Run a real agent against a local stand-in for an LLM service, and meter it: no account, no network.

    Starts the collector and a small OpenAI-compatible endpoint on this machine, runs a program with the real `openai`
    client under `opentelemetry-instrument` for two tenants, shows the CloudEvents as they are made, then the usage
    and what it would cost.
    """
    from spanmeter.demo.show import run_demo

    run_demo(keep)
