"""From a decoded span to the facts that are journalled: the dialects' answer, the tenant it names, extra dimensions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spanmeter.binding import NOTHING, is_name
from spanmeter.usage.call import Role, SpanFacts
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.span import NOTHING_CAPTURED, Attributes, AttributeValue, Captured, Span, Vocabulary

SERVICE_KEYS = ("service.name", "service.instance.id")
# Ids of sessions, users and agents (semconv registry: session, user, enduser, gen-ai; OpenInference and Langfuse use
# them too): never a tenant by themselves, but what a person can assign parked calls by.
HINT_KEYS = ("session.id", "user.id", "enduser.id", "gen_ai.conversation.id", "gen_ai.agent.id", "gen_ai.agent.name")
BOUND_KEY = "bound in code"
"""Where a key would stand for a tenant that an attribute names."""
MOST_SHOWN_CHARACTERS = 80


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
        is_tool = call is not None and call.role is Role.TOOL
        if is_tool:
            call = None
        named = find_tenant(span.attributes, self.tenant_attributes)
        captured = span.captured
        if call is None and captured.bound_above:
            captured = NOTHING_CAPTURED  # what is above says it already
        bound = captured.bound or NOTHING
        if named is _NOBODY and bound.tenant:
            named = Named(tenant=bound.tenant, key=BOUND_KEY)
        dimensions = self._dimensions(span, captured if call is not None else NOTHING_CAPTURED)
        if call is None and not is_tool and named is _NOBODY and not dimensions:
            return None
        resource = find_tenant(span.resource, self.tenant_attributes)
        carried = find_tenant(captured.baggage, self.tenant_attributes) if call is not None else _NOBODY
        facts = SpanFacts(
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            parent_is_remote=span.parent_is_remote,
            start_ns=span.start_ns,
            end_ns=span.end_ns or span.start_ns or received_ns,
            scope=span.scope.name,
            service="/".join(str(span.resource.get(key, "")) for key in SERVICE_KEYS),
            tenant=named.tenant,
            tenant_key=named.key,
            unusable_tenants=named.unusable,
            baggage_tenant=carried.tenant,
            baggage_tenant_key=carried.key if carried.tenant else "",
            resource_tenant=resource.tenant,
            resource_tenant_key=resource.key,
            resource_unusable_tenants=resource.unusable,
            credential_tenant=credential_tenant,
            dimensions=dimensions,
            hints=() if named.tenant or call is None else _hints(span),
            is_tool=is_tool,
            call=call,
        )
        return facts if _is_encodable(facts) else _mended(facts)

    def _dimensions(self, span: Span, captured: Captured) -> tuple[tuple[str, str], ...]:
        """Of each name the first that is there: the span's attribute, what is bound in code, baggage, the resource's
        attribute."""
        found = dict((captured.bound or NOTHING).dimensions)
        for name, key in self.dimensions.items():
            places = (span.attributes,) if name in found else (span.attributes, captured.baggage, span.resource)
            shown = next((text for place in places if (text := _shown(place.get(key))) is not None), None)
            if shown is not None:
                found[name] = shown
        return tuple(found.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Who pays, by the attributes of a span or resource. `unusable` is what stood where a tenant should, and cannot be
    one: then nobody else is asked either, and a person decides."""

    tenant: str = ""
    key: str = ""
    unusable: tuple[str, ...] = ()


_NOBODY = Named()


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
    return _NOBODY


def _tenants(value: AttributeValue) -> tuple[str, ...]:
    """Texts and whole numbers name tenants, a list as many as it holds different ones."""
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
        return tuple(dict.fromkeys(one for part in value for one in _tenants(part)))
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


def _hints(span: Span) -> tuple[tuple[str, str], ...]:
    found = ((key, _shown(span.attributes[key])) for key in HINT_KEYS if key in span.attributes)
    return tuple((key, shown) for key, shown in found if shown)


def _shown(value: AttributeValue) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _is_encodable(facts: SpanFacts) -> bool:
    """JSON inside an attribute may hold half of a surrogate pair, where a text was cut in the middle of an emoji: no
    encoding takes that, and one such span would keep its whole request from the journal."""
    call = facts.call
    texts = [facts.scope, facts.service, *(part for pair in (*facts.dimensions, *facts.hints) for part in pair)]
    if call is not None:
        texts += [
            call.operation,
            call.provider,
            call.request_model,
            call.response_model,
            call.response_id,
            call.problem,
        ]
        texts.append(call.reason)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _mended(facts: SpanFacts) -> SpanFacts:
    """Half surrogates replaced, as the decoders do with invalid UTF-8."""

    def text(value: str) -> str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def pairs(values: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((text(name), text(value)) for name, value in values)

    call = facts.call
    if call is not None:
        call = replace(
            call,
            operation=text(call.operation),
            provider=text(call.provider),
            request_model=text(call.request_model),
            response_model=text(call.response_model),
            response_id=text(call.response_id),
            problem=text(call.problem),
            reason=text(call.reason),
        )
    return replace(
        facts,
        scope=text(facts.scope),
        service=text(facts.service),
        dimensions=pairs(facts.dimensions),
        hints=pairs(facts.hints),
        call=call,
    )
