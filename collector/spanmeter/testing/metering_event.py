"""A strict model of the event, ours and not the service's code: refuses all that the service is known to refuse.

Sources: Konnect's OpenAPI (`MeteringEvent`), and the readers behind it in OpenMeter (kin-openapi, cloudevents/sdk-go),
which refuse more than the schema says.
"""

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_RULES = {
    "missing": "required",
    "string_too_short": "min_length",
    "literal_error": "enum",
    "extra_forbidden": "properties",
    "string_type": "type",
    "dict_type": "type",
    "model_type": "type",
}


def _check_time(value: str) -> str:
    found = _TIME.fullmatch(value)
    if not found:
        raise ValueError("is no RFC 3339 date-time")
    date(int(found[1]), int(found[2]), int(found[3]))
    return value


def _check_reference(value: str) -> str:
    """Go's url.Parse, in essence: what stands before the first slash may hold a colon only after a scheme."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        raise ValueError("cannot parse uri ref: control character")
    if re.search(r"%(?![0-9A-Fa-f]{2})", value) or b"\0" in unquote_to_bytes(value):
        raise ValueError("cannot parse uri ref: invalid URL escape")
    if ":" in value.split("/", 1)[0] and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|[A-Za-z])", value):
        raise ValueError("cannot parse uri ref: first path segment in URL cannot contain colon")
    return value


def _check_uri(value: str) -> str:
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]", value):
        raise ValueError("is no URI")
    return value


def _check_data(value: dict[str, Any]) -> dict[str, Any]:
    if nulls := sorted(key for key, inner in value.items() if inner is None):
        raise ValueError(f"Value is not nullable: {', '.join(nulls)}")
    return value


_Name = Annotated[str, Field(min_length=1)]


class MeteringEvent(BaseModel):
    """One event, closed: no extension attributes, no `data_base64`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: _Name
    source: Annotated[_Name, AfterValidator(_check_reference)]
    specversion: Literal["1.0", "0.3"]
    type: _Name
    subject: _Name
    time: Annotated[str, AfterValidator(_check_time)] | None = None
    datacontenttype: Literal["application/json"] | None = None
    dataschema: Annotated[_Name, AfterValidator(_check_uri)] | None = None
    data: Annotated[dict[str, Any], AfterValidator(_check_data)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What is wrong, in the terms of the service's `invalid_parameters`; `field` begins with the event's index."""

    field: str
    rule: str
    reason: str


def violations(events: list[Any]) -> list[Violation]:
    """Everything wrong with a batch, all events considered; empty when it may be taken."""
    found = []
    for index, event in enumerate(events):
        try:
            MeteringEvent.model_validate(event)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                field = ".".join(str(part) for part in (index, *problem["loc"]))
                rule = _RULES.get(problem["type"], "format")
                found.append(Violation(field=field, rule=rule, reason=problem["msg"]))
    return found


def parse(body: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity. Raises ValueError."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"invalid character: {constant}")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)
