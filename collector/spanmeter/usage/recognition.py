"""From a decoded span to the facts that are journalled: the dialects' answer, the tenant it names, extra dimensions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spanmeter.binding import NOTHING, is_name
from spanmeter.usage.call import LlmCall, Role, SpanFacts
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.forms import Forms
from spanmeter.usage.packing import PackedFacts
from spanmeter.usage.span import NOTHING_CAPTURED, Attributes, AttributeValue, Captured, Span, Vocabulary

SERVICE_KEYS = ("service.name", "service.instance.id")
# Ids of sessions, users and agents (semconv registry: session, user, enduser, gen-ai; OpenInference and Langfuse use
# them too): never a tenant by themselves, but what a person can assign parked calls by.
HINT_KEYS = ("session.id", "user.id", "enduser.id", "gen_ai.conversation.id", "gen_ai.agent.id", "gen_ai.agent.name")
BOUND_KEY = "bound in code"
"""Where a key would stand for a tenant that an attribute names."""
MOST_SHOWN_CHARACTERS = 80
_MOST_KNOWN = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """Reads spans by a fixed set of dialects, tenant attributes and dimensions.

    `tenant_attributes` are keys in order of preference; `key#name` reads `name` inside an attribute whose value is a
    JSON object or a key-value list. `dimensions` maps a name in the event's `data` to an attribute key.
    """

    tenant_attributes: Sequence[str]
    dimensions: Mapping[str, str] = field(default_factory=dict)
    dialects: Sequence[Dialect] = DIALECTS
    # What was found out before, about spans, tenants and resources alike: nothing here changes any answer.
    _forms: Forms = field(init=False, repr=False, compare=False)
    _tenants: "_Tenants" = field(init=False, repr=False, compare=False)
    _origins: "_Origins" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_forms", Forms(self.ask))
        object.__setattr__(self, "_tenants", _Tenants(self.tenant_attributes))
        object.__setattr__(self, "_origins", _Origins(self.tenant_attributes))

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
        found, _ = self.pack((span,), received_ns=received_ns, credential_tenant=credential_tenant)
        return found[0] if found else None

    def pack(
        self, spans: Iterable[Span], *, received_ns: int, credential_tenant: str = ""
    ) -> tuple[PackedFacts, list[Span]]:
        """`facts` of all that have any, and the spans that have none."""
        found = PackedFacts()
        others = []
        rows = found.rows
        for span in spans:
            form, response_id, counts = self._forms.recognise(span)
            call = form.call
            is_tool = call is not None and call.role is Role.TOOL
            if is_tool:
                call, response_id, counts = None, "", None
            named = self._tenants.find(span.attributes)
            captured = span.captured
            if call is None and captured.bound_above:
                captured = NOTHING_CAPTURED  # what is above says it already
            carried = _NOBODY
            if captured:
                bound = captured.bound or NOTHING
                if named is _NOBODY and bound.tenant:
                    named = Named(tenant=bound.tenant, key=BOUND_KEY)
                if call is None:
                    captured = NOTHING_CAPTURED
                else:
                    carried = find_tenant(captured.baggage, self.tenant_attributes)
            dimensions = self._dimensions(span, captured) if self.dimensions or captured else ()
            if call is None and not is_tool and named is _NOBODY and not dimensions:
                others.append(span)
                continue
            hints = () if named.tenant or call is None else _hints(span)
            origin = self._origins.of(span.resource)
            carried_key = carried.key if carried.tenant else ""
            key = (
                form,
                origin,
                span.scope.name,
                named.key,
                named.unusable,
                carried.tenant,
                carried_key,
                dimensions,
                hints,
            )
            number = found.number(key)
            if number is None:
                shape = SpanFacts(
                    trace_id=b"",
                    span_id=b"",
                    scope=span.scope.name,
                    service=origin.service,
                    tenant_key=named.key,
                    unusable_tenants=named.unusable,
                    baggage_tenant=carried.tenant,
                    baggage_tenant_key=carried_key,
                    resource_tenant=origin.named.tenant,
                    resource_tenant_key=origin.named.key,
                    resource_unusable_tenants=origin.named.unusable,
                    credential_tenant=credential_tenant,
                    dimensions=dimensions,
                    hints=hints,
                    is_tool=is_tool,
                    call=call,
                )
                number = found.add_shape(key, shape if _is_encodable(shape) else _mended(shape))
            rows.append(
                (
                    number,
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.parent_is_remote,
                    span.start_ns,
                    span.end_ns or span.start_ns or received_ns,
                    named.tenant,
                    response_id if response_id.isascii() else _text(response_id),
                    counts,
                )
            )
        return found, others

    def ask(self, span: Span) -> LlmCall | None:
        """The first dialect's answer that has one."""
        for dialect in self.dialects:
            call = dialect.recognise(span)
            if call is not None:
                return call
        return None

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


class _Tenants:
    """`find_tenant` for fixed entries; the tenants of a service name themselves again and again."""

    def __init__(self, entries: Sequence[str]) -> None:
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
            if named is not _NOBODY:
                return named
        return _NOBODY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Origin:
    """What a resource says. `service` is its name and instance."""

    service: str
    named: Named


class _Origins:
    """The last resource, which all spans of a request share as one object."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = entries
        self._last: tuple[Attributes | None, _Origin] = (None, _Origin(service="", named=_NOBODY))

    def of(self, resource: Attributes) -> _Origin:
        known, origin = self._last
        if known is not resource:
            service = "/".join([str(resource.get(key, "")) for key in SERVICE_KEYS])
            origin = _Origin(service=service, named=find_tenant(resource, self._entries))
            self._last = resource, origin
        return origin


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
    texts = [facts.scope, facts.service]
    if call is not None:
        texts += [call.operation, call.provider, call.request_model, call.response_model, call.response_id]
        texts += [call.problem, call.reason]
    for pair in (*facts.dimensions, *facts.hints):
        texts += pair
    text = "".join(texts)
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mended(facts: SpanFacts) -> SpanFacts:
    """Half surrogates replaced, as the decoders do with invalid UTF-8."""

    def pairs(values: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((_text(name), _text(value)) for name, value in values)

    call = facts.call
    if call is not None:
        call = replace(
            call,
            operation=_text(call.operation),
            provider=_text(call.provider),
            request_model=_text(call.request_model),
            response_model=_text(call.response_model),
            response_id=_text(call.response_id),
            problem=_text(call.problem),
            reason=_text(call.reason),
        )
    return replace(
        facts,
        scope=_text(facts.scope),
        service=_text(facts.service),
        dimensions=pairs(facts.dimensions),
        hints=pairs(facts.hints),
        call=call,
    )
