"""Settings from the environment, with every mistake at once."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from spanmeter.errors import SettingsError
from spanmeter.settings.table import Settings, notes_of, variables


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables; an empty variable counts as unset.

    Raises `SettingsError` with one line for every mistake, each with the variable and what would be right. The value
    of a secret is never part of a message.
    """
    names = variables()
    given = {field: environ[env].strip() for env, field in names.items() if environ.get(env, "").strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = _problems(error)
    # What does not fit together is only looked at when every value is right by itself: look at those that are.
    wrong = {line.partition(":")[0] for line in problems}
    try:
        Settings.model_validate({field: value for field, value in given.items() if _variable(field) not in wrong})
    except ValidationError as error:
        problems += [
            line for line in _problems(error) if line not in problems and not any(name in line for name in wrong)
        ]
    raise SettingsError(problems)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One line for each `SPANMETER_…` variable that is no setting: most likely a slip of the pen."""
    known = variables()
    lines = []
    for name in sorted(environ):
        if name.startswith("SPANMETER_") and name not in known and not name.startswith("SPANMETER_TEST_"):
            # Without the prefix, which would make any two of them look alike.
            ends = [variable.removeprefix("SPANMETER_") for variable in known if variable.startswith("SPANMETER_")]
            near = difflib.get_close_matches(name.removeprefix("SPANMETER_"), ends, n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean SPANMETER_{near[0]}?" if near else ""))
    return lines


def _variable(name: str) -> str:
    return str(notes_of(Settings.model_fields[name])["env"])


def _problems(error: ValidationError) -> list[str]:
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        if detail["loc"]:
            lines += [_problem(detail | {"msg": part}) for part in detail["msg"].split("\n")]
        else:
            lines += detail["msg"].removeprefix("Value error, ").split("\n")
    return lines


def _problem(detail: Any) -> str:
    field = Settings.model_fields[str(detail["loc"][0])]
    message = str(detail["msg"]).removeprefix("Value error, ")
    shown = "" if notes_of(field)["masked"] or repr(detail["input"]) in message else f" (found {detail['input']!r})"
    return f"{notes_of(field)['env']}: {message[:1].lower()}{message[1:]}{shown}"
