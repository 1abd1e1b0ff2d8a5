"""Attribute values as they come: counts as int, double or numeric string, texts, booleans."""

import json
import math
from collections.abc import Mapping

from spanmeter.usage.span import Attributes, AttributeValue
from spanmeter.usage.watching import WatchedAttributes

MOST_TOKENS = 100_000_000
"""More than this in one call is a broken counter: the largest context windows hold some ten million tokens."""


class BadCountError(ValueError):
    """A value stands where a token count should be and is none. The message names the key, never the value's text."""


def count(attributes: Attributes, *keys: str) -> int | None:
    """The token count under the first of `keys` that is present; None where none is.

    Integers, doubles without a fraction and numeric strings are counts (instrumentations send all three). Raises
    `BadCountError` for a negative, fractional, absurdly large or non-numeric value.
    """
    for key in keys:
        value = attributes.get(key)
        if value is not None:
            return as_count(key, value)
    return None


def as_count(key: str, value: AttributeValue) -> int:
    """`value` as a token count; see `count`."""
    if isinstance(value, str):
        try:
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        except ValueError:
            raise BadCountError(f"{key} is text, not a number") from None
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            raise BadCountError(f"{key} is {value}, not a whole number")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadCountError(f"{key} is of type {type(value).__name__}, not a number")
    if value < 0:
        raise BadCountError(f"{key} is negative ({value})")
    if value > MOST_TOKENS:
        raise BadCountError(f"{key} is {value}, more than any call has ({MOST_TOKENS})")
    return value


def text(attributes: Attributes, *keys: str) -> str:
    """The first non-empty string under `keys`, else the empty string."""
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def passed(attributes: Attributes, *keys: str) -> str:
    """As `text`, for a value that the caller hands on as the call's response id, or asks only whether there is one.

    Nothing else may depend on it: the answer for one id is used for spans with other ids.
    """
    return attributes.passed(keys) if isinstance(attributes, WatchedAttributes) else text(attributes, *keys)


def truth(attributes: Attributes, key: str) -> bool:
    """Whether the value under `key` says yes: true, or the word in any case."""
    value = attributes.get(key)
    return value is True or (isinstance(value, str) and value.lower() == "true")


MOST_JSON_CHARACTERS = 4 * 1024 * 1024
"""A longer text is not parsed: a call's counts are not worth what it would cost."""


def json_object(value: object) -> Mapping[str, AttributeValue]:
    """The object that `value` is, or that its JSON text holds; an empty one where it is neither, or was cut."""
    if isinstance(value, str) and len(value) <= MOST_JSON_CHARACTERS and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def version(text_of_version: str) -> tuple[int, ...]:
    """`1.62.0` as (1, 62, 0), up to the first part that is no number; empty where there is none."""
    parts = []
    for part in text_of_version.split("."):
        if not part.isascii() or not part.isdecimal() or len(part) > 9:
            break
        parts.append(int(part))
    return tuple(parts)
