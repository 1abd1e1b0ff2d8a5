"""The settings of this process."""

import os

import click

from spanmeter.settings import Settings, load, unknown_variables


def settings_from_environment() -> Settings:
    """Checked settings; raises `SettingsError` with every mistake. Variables that look like slips are pointed out."""
    for line in unknown_variables(os.environ):
        click.echo(f"spanmeter: warning: {line}", err=True)
    return load(os.environ)
