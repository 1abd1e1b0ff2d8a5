"""From a decoded span to the facts that are journalled: the dialects' answer, the tenant it names, extra dimensions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spanmeter.usage.call import SpanFacts
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.span import Attributes, AttributeValue, Span, Vocabulary

SERVICE_KEYS = ("service.name", "service.instance.id")
# Ids of sessions, users and agents (semconv registry: session, user, enduser, gen-ai; OpenInference and Langfuse use
# them too): never a tenant by themselves, but what a person can assign parked calls by.
HINT_KEYS = ("session.id", "user.id", "enduser.id", "gen_ai.conversation.id", "gen_ai.agent.id", "gen_ai.agent.name")
MOST_TENANT_CHARACTERS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """Reads spans by a fixed set of dialects, tenant attributes and dimensions.

    `tenant_attributes` are keys in order of preference; `key#name` reads `name` inside an attribute whose value is a
    JSON object or a key-value list. `dimensions` maps a name in the event's `data` to an attribute key.
    """

    tenant_attributes: Sequence[str]
    dimensions: Mapping[str, str] = field(default_factory=dict)
    dialects: Sequence[Dialect] = DIALECTS

    def vocabulary(self) -> Vocabulary:
        """What decoders must keep for this recogniser, and nothing more."""
        tenant_keys = {entry.partition("#")[0] for entry in self.tenant_attributes}
        wanted = tenant_keys | set(self.dimensions.values())
        return Vocabulary(
            keys=frozenset().union(
                wanted, SERVICE_KEYS, HINT_KEYS, *(dialect.keys | dialect.context for dialect in self.dialects)
            ),
            markers=tuple(sorted(wanted.union(*(dialect.markers for dialect in self.dialects)))),
        )

    def facts(self, span: Span, *, received_ns: int, credential_tenant: str = "") -> SpanFacts | None:
        """The facts of a span, or None where nothing about it can matter but its place in the trace.

        A span without an end time takes `received_ns`: the service drops events of 1970 without a word.
        """
        call = None
        for dialect in self.dialects:
            call = dialect.recognise(span)
            if call is not None:
                break
        tenant, tenant_key = find_tenant(span.attributes, self.tenant_attributes)
        dimensions = tuple(
            (name, shown) for name, key in self.dimensions.items() if (shown := _dimension(span, key)) is not None
        )
        if call is None and not tenant and not dimensions:
            return None
        resource_tenant, resource_key = find_tenant(span.resource, self.tenant_attributes)
        return SpanFacts(
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            parent_is_remote=span.parent_is_remote,
            start_ns=span.start_ns,
            end_ns=span.end_ns or span.start_ns or received_ns,
            scope=span.scope.name,
            service="/".join(str(span.resource.get(key, "")) for key in SERVICE_KEYS),
            tenant=tenant,
            tenant_key=tenant_key,
            resource_tenant=resource_tenant,
            resource_tenant_key=resource_key,
            credential_tenant=credential_tenant,
            dimensions=dimensions,
            hints=() if tenant or call is None else _hints(span),
            call=call,
        )


def find_tenant(attributes: Attributes, entries: Sequence[str]) -> tuple[str, str]:
    """The tenant named by the first entry that names one, and that entry; two empty strings where none does."""
    if attributes:
        for entry in entries:
            key, _, name = entry.partition("#")
            value = attributes.get(key)
            if value is None:
                continue
            if name:
                value = _member(value, name)
            tenant = _tenant(value)
            if tenant:
                return tenant, entry
    return "", ""


def _tenant(value: AttributeValue) -> str:
    """Texts and integers name tenants; a list does if it holds just one. Never cut: that would be another customer."""
    if isinstance(value, str):
        value = value.strip()
        return value if len(value) <= MOST_TENANT_CHARACTERS else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes) and len(value) == 1:
        return _tenant(value[0])
    return ""


def _member(value: AttributeValue, name: str) -> AttributeValue:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value.get(name) if isinstance(value, Mapping) else None


def _hints(span: Span) -> tuple[tuple[str, str], ...]:
    found = ((key, _dimension(span, key)) for key in HINT_KEYS if key in span.attributes)
    return tuple((key, shown) for key, shown in found if shown)


def _dimension(span: Span, key: str) -> str | None:
    value = span.attributes.get(key, span.resource.get(key))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None
