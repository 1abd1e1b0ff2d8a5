"""What commands have in common: the settings of this process, the database in use, NAME=VALUE."""

import os
from typing import TYPE_CHECKING

import click

from spanmeter.settings import Settings, load, unknown_variables

if TYPE_CHECKING:
    from spanmeter.store.database import Database


def settings_from_environment() -> Settings:
    """Checked settings; raises `SettingsError` with every mistake. Variables that look like slips are pointed out."""
    for line in unknown_variables(os.environ):
        click.echo(f"spanmeter: warning: {line}", err=True)
    return load(os.environ)


def open_used_database(settings: Settings) -> "Database":
    """The data folder's database, to be written too; raises `UsageError` where nothing was ever received."""
    from spanmeter.errors import UsageError
    from spanmeter.store.database import FILE_NAME, Database

    if not (settings.data_dir / FILE_NAME).exists():
        raise UsageError(f"nothing was ever received in {settings.data_dir}", hint="is SPANMETER_DATA_DIR right?")
    return Database.open(settings.data_dir)


def name_value_pairs(entries: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What `--where NAME=VALUE` says, each; raises `UsageError`."""
    from spanmeter.errors import UsageError

    pairs = []
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(f"--where {entry}: write NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)
