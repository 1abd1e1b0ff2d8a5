"""The file that SPANMETER_DIALECT_FILE names: one's own vocabularies, described in TOML or JSON, checked at start.

docs/dialects.md has the form and an example that works.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

MOST_BYTES = 1024 * 1024


def _listed(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("is an attribute key, or a list of them in order of preference")  # noqa: TRY004  pydantic's way
    return value


def _texts(value: object) -> object:
    """Values to compare with, as text: TOML's and JSON's booleans as attributes have them."""
    if isinstance(value, Mapping):
        return {key: _text(part) for key, part in value.items()}
    return value


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _text_list(value: object) -> object:
    return tuple(_text(part) for part in value) if isinstance(value, list | tuple) else _listed(_text(value))


_Key = Annotated[str, Field(min_length=1, max_length=512)]
_Keys = Annotated[tuple[_Key, ...], BeforeValidator(_listed)]
_Values = Annotated[tuple[str, ...], BeforeValidator(_text_list)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class CountsPart(_Part):
    """`[dialect.counts]`: attribute keys, one or several in order of preference, and what the counts include."""

    input: _Keys = Field(min_length=1)
    output: _Keys = ()
    cache_read: _Keys = ()
    cache_write: _Keys = ()
    reasoning: _Keys = ()
    total: _Keys = ()
    cache_included: bool = True
    reasoning_included: bool = True
    estimated: bool = False


class CallPart(_Part):
    """`[dialect.call]`: attribute keys of what else is known, and names that no attribute has."""

    request_model: _Keys = ()
    response_model: _Keys = ()
    provider: _Keys = ()
    fixed_provider: str = ""
    operation: _Keys = ()
    fixed_operation: str = ""
    response_id: _Keys = ()
    streamed: _Keys = ()


class KindPart(_Part):
    """`[dialect.kind]`: the attribute that tells calls from sums over calls and from what is neither."""

    attribute: _Key
    call: _Values = Field(min_length=1)
    aggregate: _Values = ()
    ignored: _Values = ()
    sole_source: bool = False

    @model_validator(mode="after")
    def _once(self) -> Self:
        values = (*self.call, *self.aggregate, *self.ignored)
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} stands in more than one place of call, aggregate, ignored")
        return self


class CustomDialect(_Part):
    """One `[[dialect]]`."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    scope: str = ""
    span: str = ""
    where: Annotated[Mapping[_Key, str], BeforeValidator(_texts)] = Field(default_factory=dict)
    counts: CountsPart
    call: CallPart = CallPart()
    kind: KindPart | None = None

    @model_validator(mode="after")
    def _is_told(self) -> Self:
        if not (self.scope.strip("*") or self.span.strip("*") or self.where):
            raise ValueError("needs a scope, a span or a where that tells its spans from all others")
        return self


class _File(_Part):
    dialect: tuple[CustomDialect, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.dialect:
            raise ValueError("describes no dialect")
        names = [one.name for one in self.dialect]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is used twice")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectFile:
    """Checked dialects and the file that they were read from."""

    path: Path
    dialects: tuple[CustomDialect, ...]

    def __str__(self) -> str:
        return str(self.path)


def read_dialect_file(path: Path) -> DialectFile:
    """Reads TOML, or JSON where the name ends in `.json`.

    Raises ValueError with every mistake, one a line, each with the file and the field.
    """
    shown = repr(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{shown} is longer than {MOST_BYTES} bytes")
    try:
        parsed = json.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ValueError(f"{shown} is no {kind}: {error}") from None
    try:
        checked = _File.model_validate(parsed)
    except ValidationError as error:
        raise ValueError("\n".join(f"{shown}: {_problem(detail)}" for detail in error.errors())) from None
    return DialectFile(path=path, dialects=checked.dialect)


_WORDS = {"missing": "is missing", "extra_forbidden": "is no field"}


def _problem(detail: Any) -> str:
    """`dialect 2, counts.input: is missing`"""
    place = list(detail["loc"])
    names = []
    if len(place) > 1 and place[0] == "dialect" and isinstance(place[1], int):
        names.append(f"dialect {place[1] + 1}")
        place = place[2:]
    field = ".".join(str(part) for part in place)
    message = _WORDS.get(detail["type"], str(detail["msg"]).removeprefix("Value error, "))
    return ": ".join(
        [", ".join([*names, *([field] if field else [])]) or "the file", message[:1].lower() + message[1:]]
    )
