"""The settings as documentation and `spanmeter settings` show them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from spanmeter.settings.table import Settings, notes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting, as documentation shows it. `value` is the present one, a secret masked."""

    variable: str
    type: str
    unit: str
    default: str
    value: str
    description: str


def rows(settings: Settings) -> list[SettingRow]:
    """Every setting with its present value."""
    made = []
    for name, field in Settings.model_fields.items():
        extra = notes_of(field)
        default = extra["shown"] if extra["shown"] is not None else _text(field.get_default(call_default_factory=True))
        value = getattr(settings, name)
        made.append(
            SettingRow(
                variable=extra["env"],
                type=_type_name(field),
                unit=extra["unit"],
                default=default,
                value="********" if isinstance(value, SecretStr) else _without_query(_text(value), extra["masked"]),
                description=field.description or "",
            )
        )
    return made


def _without_query(shown: str, masked: bool) -> str:
    """A URL's query may hold a key."""
    before, query, _ = shown.partition("?")
    return f"{before}?********" if masked and query else shown


def _type_name(field: FieldInfo) -> str:
    annotation = field.annotation
    if annotation in (int, float, bool, str):
        return {int: "integer", float: "number", bool: "true or false", str: "text"}[annotation]  # type: ignore[index]
    words = str(annotation)
    for sign, name in (
        ("ListenAddress", "host:port"),
        ("SecretStr", "secret"),
        ("DialectFile", "path"),
        ("Path", "path"),
        ("Mapping", "pairs"),
        ("tuple", "list"),
    ):
        if sign in words:
            return name
    choices = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        choices = tuple(member.value for member in annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(choices)
    return "text"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(str(part) for part in value)
        case dict():
            return ",".join(f"{name}={attribute}" for name, attribute in value.items())
        case float():
            return f"{value:g}"
        case _:
            return str(value)
