"""Who pays, by the attributes of a span or a resource alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spanmeter.binding import is_name
from spanmeter.usage.span import Attributes, AttributeValue

# Ids of sessions, users and agents (semconv registry: session, user, enduser, gen-ai; OpenInference and Langfuse use
# them too): never a tenant by themselves, but what a person can assign parked calls by.
HINT_KEYS = ("session.id", "user.id", "enduser.id", "gen_ai.conversation.id", "gen_ai.agent.id", "gen_ai.agent.name")
MOST_SHOWN_CHARACTERS = 80
_MOST_KNOWN = 4_096
_MOST_NESTED = 16
"""Lists in lists that are looked into: JSON writers wrap a value once or twice. Without a bound, one attribute that is
nested deep would raise for the whole request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Who pays, by the attributes of a span or resource. `unusable` is what stood where a tenant should, and cannot be
    one: then nobody else is asked either, and a person decides."""

    tenant: str = ""
    key: str = ""
    unusable: tuple[str, ...] = ()


NOBODY = Named()


def find_tenant(attributes: Attributes, entries: Sequence[str]) -> Named:
    """The tenant named by the first entry that names one. Empty texts and empty lists name nobody."""
    if attributes:
        for entry in entries:
            key, _, name = entry.partition("#")
            value = attributes.get(key)
            if value is None:
                continue
            found = _tenants(_member(value, name) if name else value)
            if len(found) == 1 and is_name(found[0]):
                return Named(tenant=found[0], key=entry)
            if found:
                return Named(key=entry, unusable=tuple(repr(one)[:MOST_SHOWN_CHARACTERS] for one in found))
    return NOBODY


def tenant_of(value: AttributeValue) -> str:
    """The tenant that an attribute with this value names; empty where it names none, or several. Most name themselves:
    all that can be printed, but for spaces and quotation marks, which may have to go."""
    if isinstance(value, str) and is_name(value) and " " not in value and '"' not in value:
        return value
    return find_tenant({"": value}, ("",)).tenant


class Tenants:
    """`find_tenant` for fixed entries; the tenants of a service name themselves again and again."""

    def __init__(self, entries: Sequence[str]) -> None:
        self.entries = entries
        self._entries = [(entry.partition("#")[0], entry, dict[str, Named]()) for entry in entries]

    def find(self, attributes: Attributes) -> Named:
        for key, entry, known in self._entries:
            value = attributes.get(key)
            if value is None:
                continue
            named = known.get(value) if isinstance(value, str) else None
            if named is None:
                named = find_tenant(attributes, (entry,))
                if isinstance(value, str) and len(value) <= MOST_SHOWN_CHARACTERS:
                    if len(known) >= _MOST_KNOWN:
                        known.clear()
                    known[value] = named
            if named is not NOBODY:
                return named
        return NOBODY


def _tenants(value: AttributeValue, *, levels: int = _MOST_NESTED) -> tuple[str, ...]:
    """Texts and whole numbers name tenants, a list as many as it holds different ones, in so many levels of lists."""
    if isinstance(value, str):
        name = _unquoted(value.strip())
        return (name,) if name else ()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | float | bytes):
        return (f"{type(value).__name__}\0",)  # stands where a tenant should, and is none
    if isinstance(value, int):
        return (str(value),)
    if isinstance(value, Sequence):
        if not levels:
            return ("nested\0",)
        return tuple(dict.fromkeys(one for part in value for one in _tenants(part, levels=levels - 1)))
    return ()


def _unquoted(value: str) -> str:
    """MLflow writes every attribute as JSON (mlflow 3.17, tracing/utils/__init__.py): `"acme"` with its quotes."""
    if len(value) > 2 and value[0] == value[-1] == '"':
        try:
            inner = json.loads(value)
        except ValueError:
            return value
        return inner.strip() if isinstance(inner, str) else value
    return value


def _member(value: AttributeValue, name: str) -> AttributeValue:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value.get(name) if isinstance(value, Mapping) else None
