"""`bootstrap`: which instrumentations fit what is installed."""

import click

STDERR = 2
STATES = {
    "installed": "{package} is installed",
    "install": "{package} fits",
    "itself": "traces itself, nothing is needed",
    "none": "no instrumentation is known for this version",
}


@click.command()
@click.option("--install", is_flag=True, help="Run pip with this interpreter, instead of showing the command.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: `libraries`, `install` and `remove`.")
def bootstrap(install: bool, as_json: bool) -> None:
    """Show which instrumentations make the LLM calls of this environment visible.

    For every client library of an LLM service that is installed here, the instrumentation that fits its version, all of
    them in versions that work together. Nothing is changed without --install.
    """
    import shlex
    import subprocess
    import sys

    import msgspec

    from spanmeter.doctor.instrumentations import installed_versions
    from spanmeter.errors import SpanmeterError
    from spanmeter.libraries import plan

    found = plan(installed_versions())
    pip = [sys.executable, "-m", "pip"]
    commands = [[*pip, "uninstall", "-y", *found.remove]] if found.remove else []
    commands += [[*pip, "install", *found.install]] if found.install else []
    if as_json:
        said = {"libraries": found.proposals, "install": found.install, "remove": found.remove}
        click.echo(msgspec.json.encode(said).decode())
    else:
        for one in found.proposals:
            click.echo(f"{one.library} {one.version}: {STATES[one.state].format(package=one.package)}")
        if not found.proposals:
            click.echo("no client library of an LLM service that spanmeter knows is installed here")
        elif not commands:
            click.echo("nothing to install")
        for command in commands:
            click.echo(shlex.join(command))
    for command in commands if install else ():
        # pip's words go where an error's go: standard output is this command's own.
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=STDERR)  # noqa: S603
        if done.returncode:
            raise SpanmeterError(f"pip ended with {done.returncode}", hint="see what it said; nothing more was run")
