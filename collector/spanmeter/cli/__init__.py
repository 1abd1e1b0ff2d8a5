"""The `spanmeter` command. Exit codes: 0 done, 1 something a person must see, 2 asked wrongly or bad input."""

import os
import sys

import click

from spanmeter import __version__
from spanmeter.errors import MalformedError, SettingsError, SpanmeterError, UsageError


class _Group(click.Group):
    """Turns the errors that spanmeter raises on purpose into one line and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            for problem in error.problems:
                click.echo(f"spanmeter: {problem}", err=True)
            click.echo("`spanmeter settings` lists every setting with its default.", err=True)
            ctx.exit(2)
        except SpanmeterError as error:
            click.echo(f"spanmeter: {error.message}", err=True)
            if error.hint:
                click.echo(f"  {error.hint}", err=True)
            ctx.exit(2 if isinstance(error, MalformedError | UsageError) else 1)
        except BrokenPipeError:  # the reader of standard output has gone: `spanmeter convert … | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except OSError as error:  # standard output on a full disk
            click.echo(f"spanmeter: {error.strerror or error}", err=True)
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="spanmeter")
def main() -> None:
    """OpenTelemetry GenAI spans to usage events: each LLM call billed once, to the right customer.

    Environment variables configure all commands; `spanmeter settings` shows them.
    """


def _register() -> None:
    from spanmeter.cli.bootstrap import bootstrap
    from spanmeter.cli.convert import convert
    from spanmeter.cli.correct import correct
    from spanmeter.cli.dead_letters import dead_letters
    from spanmeter.cli.demo import demo
    from spanmeter.cli.doctor import doctor
    from spanmeter.cli.explain import explain
    from spanmeter.cli.replay import replay
    from spanmeter.cli.reports import status, usage
    from spanmeter.cli.review import parked, unmetered
    from spanmeter.cli.serve import deliver, serve
    from spanmeter.cli.settings import settings
    from spanmeter.cli.settlement import settlement

    for command in (
        *(serve, convert, explain, usage, status, parked, unmetered),
        *(dead_letters, replay, settlement, correct, deliver, doctor, bootstrap, settings, demo),
    ):
        main.add_command(command)


_register()
