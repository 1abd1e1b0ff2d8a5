"""The facts of a request's spans: what a form and the tenant's name come to, the span's place, its dimensions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from spanmeter.binding import NOTHING
from spanmeter.usage.call import LlmCall
from spanmeter.usage.encodable import mended_text
from spanmeter.usage.forms import Form, Forms
from spanmeter.usage.layouts import (
    CODE_BYTES,
    NO_PAIR,
    ByScope,
    EncodedRow,
    EncodedSpans,
    KnownScope,
    Layout,
    Reader,
    Signature,
    WrittenMoulds,
    WrittenSpans,
    known_scope,
    layout_of,
)
from spanmeter.usage.named import HINT_KEYS, NOBODY, Named, Tenants, find_tenant, tenant_of
from spanmeter.usage.packing import PackedFacts
from spanmeter.usage.shapes import Pairs, Shapes
from spanmeter.usage.span import (
    LAST_NS,
    LINK_BYTES,
    NOTHING_CAPTURED,
    PARENT_IS_REMOTE,
    Attributes,
    AttributeValue,
    Captured,
    Scope,
    Span,
    pack_link,
)

BOUND_KEY = "bound in code"
"""Where a key would stand for a tenant that an attribute names."""


class Remembered:
    """What was found out before, about spans, tenants and resources alike: nothing here changes any answer."""

    def __init__(
        self, ask: Callable[[Span], LlmCall | None], tenant_entries: Sequence[str], dimensions: Mapping[str, str]
    ) -> None:
        self.tenant_entries = tenant_entries
        self.dimensions = dimensions
        self.forms = Forms(ask)
        self.tenants = Tenants(tenant_entries)
        self.shapes = Shapes(tenant_entries)
        self.scopes = ByScope[KnownScope]()
        self.written = ByScope[WrittenMoulds]()


class FactsMaker:
    """Gathers in `found` what the spans of one request come to."""

    def __init__(self, remembered: Remembered, *, received_ns: int, credential_tenant: str) -> None:
        self.found = PackedFacts()
        self._remembered = remembered
        self._received_ns = received_ns
        self._credential_tenant = credential_tenant

    def add(self, span: Span) -> bool:
        """False if it has no facts."""
        remembered = self._remembered
        form, response_id, counts = remembered.forms.recognise(span)
        if not form.is_call:
            response_id, counts = "", None
        named = remembered.tenants.find(span.attributes)
        captured = span.captured
        carried = NOBODY
        if captured:
            if not form.is_call and captured.bound_above:
                captured = NOTHING_CAPTURED  # what is above says it already
            bound = captured.bound or NOTHING
            if named is NOBODY and bound.tenant:
                named = Named(tenant=bound.tenant, key=BOUND_KEY)
            if form.is_call:
                carried = find_tenant(captured.baggage, remembered.tenant_entries)
            else:
                captured = NOTHING_CAPTURED
        number = self._number(
            form,
            span.scope.name,
            span.resource,
            named=named,
            carried=carried,
            dimensions=self._dimensions(span.attributes, span.resource, captured),
            hints=_hints(span.attributes) if form.is_call and not named.tenant else (),
        )
        if number is None:
            return False
        self.found.rows.append(
            (
                number,
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.parent_is_remote,
                span.start_ns,
                span.end_ns or span.start_ns or self._received_ns,
                named.tenant,
                response_id if response_id.isascii() else mended_text(response_id),
                counts,
            )
        )
        return True

    def add_encoded(self, spans: EncodedSpans) -> list[bytes]:
        """The links of those that have no facts. Raises MalformedError."""
        scope = spans.scope
        known = self._remembered.scopes.of(scope, lambda: known_scope(spans))
        links: list[bytes] = []
        numbers = _Numbers(self, spans, scope)
        unknown = 0
        with spans.reading() as reader:
            others = known.moulds.take(
                spans.raw,
                numbers=numbers,
                rows=self.found.rows,
                links=links,
                received_ns=self._received_ns,
            )
            others, passed = spans.sifted(others)
            links.append(passed)
            for row, signature in self._add_by_layout(spans, others, known, reader, links, numbers):
                unknown += 1
                span = spans.decoded(row, scope)
                if span is None or not self.add(span):
                    links.append(pack_link(*row[:3]))
                if span is not None and signature:
                    self._learn(spans, span, known, row, signature, reader)
        known.met += len(spans) - len(passed) // LINK_BYTES - unknown
        return links

    def add_written(self, spans: WrittenSpans) -> list[bytes]:
        """The links of those that have no facts. Raises MalformedError."""
        scope = spans.scope
        moulds = self._remembered.written.of(scope, spans.moulds)
        links: list[bytes] = []
        numbers = _Numbers(self, spans, scope)
        with spans.reading():
            for raw in moulds.take(
                spans.raw, numbers=numbers, rows=self.found.rows, links=links, received_ns=self._received_ns
            ):
                span = spans.decoded(raw)
                if isinstance(span, bytes):
                    links.append(span)
                elif span is not None:
                    if not self.add(span):
                        links.append(pack_link(span.trace_id, span.span_id, span.parent_span_id))
                    if moulds.is_worth(raw):
                        self._learn_written(raw, span, moulds)
        return links

    def _learn_written(self, raw: Any, span: Span, moulds: WrittenMoulds) -> None:
        kept = self._remembered.forms.kept(span)
        if kept is None:
            return
        form, keys, _ = kept  # names are compared anyway
        layout = self._layout(span, form, {key: at for at, key in enumerate(span.attributes)})
        if layout is not None:
            moulds.learn(raw, layout, keys | self._dimension_keys(span))

    def _add_by_layout(
        self,
        spans: EncodedSpans,
        raw: Sequence[bytes],
        known: KnownScope,
        reader: Reader,
        links: list[bytes],
        numbers: Mapping[Layout, int | None],
    ) -> Iterator[tuple[EncodedRow, Signature]]:
        """Adds the spans whose layout is known; gives the others, with the signature if that is worth knowing."""
        if known.is_opaque:
            yield from ((row, ()) for row in spans.rows(raw))
            return
        sign = known.tokens.sign_long if spans.has_long_texts else known.tokens.sign
        layouts, has_name, received_ns = known.layouts, known.has_name, self._received_ns
        read, pair, append = reader.__getitem__, reader.pair, self.found.rows.append
        for row in spans.rows(raw):
            trace_id, span_id, parent_span_id, message, _ = row
            attributes = message.attributes[:]
            signature = (message.status, message.name if has_name else b"", *sign(attributes))
            layout = layouts.get(signature)
            if layout is None:
                yield row, signature
                continue
            tenant, response_id, counts = "", "", None
            if layout.tenant_at >= 0:
                _, value = read(attributes[layout.tenant_at]) or NO_PAIR
                tenant = tenant_of(value)
            if layout.id_at >= 0:
                _, own_id = pair(attributes[layout.id_at]) or NO_PAIR
                response_id = own_id if isinstance(own_id, str) and own_id.isascii() else ""
            if layout.read_counts is not None:
                counts = layout.read_counts(dict(filter(None, map(read, layout.pick_counts(attributes)))))
            if (
                (not tenant and layout.tenant_at >= 0)
                or (not response_id and layout.id_at >= 0)
                or (counts is None and layout.read_counts is not None)
            ):
                yield row, ()
                continue
            known.moulds.learn(row, layout, signature[2:])
            number = numbers[layout]
            if number is None:
                links.append(pack_link(trace_id, span_id, parent_span_id))
                continue
            start_ns, end_ns = message.start_time_unix_nano, message.end_time_unix_nano
            start_ns = start_ns if start_ns <= LAST_NS else 0
            end_ns = end_ns if end_ns <= LAST_NS else 0
            append(
                (
                    number,
                    trace_id,
                    span_id,
                    parent_span_id,
                    PARENT_IS_REMOTE[message.flags >> 8 & 3],
                    start_ns,
                    end_ns or start_ns or received_ns,
                    tenant,
                    response_id,
                    counts,
                )
            )

    def _learn(
        self, spans: EncodedSpans, span: Span, known: KnownScope, row: EncodedRow, signature: Signature, reader: Reader
    ) -> None:
        """Keep the layout of a span that was just added, if others can be told to be like it."""
        remembered = self._remembered
        message = row[3]
        if len(message.status) > CODE_BYTES:
            return
        known.miss()
        kept = remembered.forms.kept(span)
        if kept is None:
            return
        form, keys, has_name = kept
        has_name = has_name or known.has_name
        compared = known.compared.union(keys, self._dimension_keys(span))
        if compared != known.compared or has_name != known.has_name:
            remembered.scopes.put(
                span.scope, known_scope(spans, compared, has_name=has_name)
            )  # compares more from now on
            return
        places = {key: at for at, one in enumerate(message.attributes) if (key := reader.key(one)) is not None}
        layout = self._layout(span, form, places)
        if layout is not None:
            if form.id_key:
                known.tokens.unrepeated.add(form.id_key)
            known.layouts[signature] = layout

    def _layout(self, span: Span, form: Form, places: Mapping[str, int]) -> Layout | None:
        remembered = self._remembered
        return layout_of(span, form, places, remembered.tenants, dimension_keys=self._dimension_keys(span))

    def _dimension_keys(self, span: Span) -> frozenset[str]:
        return frozenset(span.attributes.keys() & set(self._remembered.dimensions.values()))

    def number_of(self, layout: Layout, spans: EncodedSpans | WrittenSpans, scope: Scope) -> int | None:
        """Of the shape of spans of this layout, see `_number`."""
        return self._number(
            layout.form,
            scope.name,
            spans.resource(),
            named=layout.named,
            dimensions=self._dimensions(layout.dimensions, spans.resource(), NOTHING_CAPTURED),
        )

    def _number(
        self,
        form: Form,
        scope: str,
        resource: Attributes,
        *,
        named: Named,
        carried: Named = NOBODY,
        dimensions: Pairs = (),
        hints: Pairs = (),
    ) -> int | None:
        """Of the shape in `found`; None where there is nothing to say about a span."""
        if form.call is None and named.key == "" and not dimensions:
            return None
        shape = self._remembered.shapes.of(
            form,
            scope,
            resource,
            named=named,
            carried=carried,
            dimensions=dimensions,
            hints=hints,
            credential_tenant=self._credential_tenant,
        )
        number = self.found.number(id(shape))
        return self.found.add_shape(id(shape), shape) if number is None else number

    def _dimensions(self, attributes: Attributes, resource: Attributes, captured: Captured) -> Pairs:
        """Of each name the first that is there: the span's attribute, what is bound in code, baggage, the resource's
        attribute."""
        if not self._remembered.dimensions and not captured:
            return ()
        found = dict((captured.bound or NOTHING).dimensions)
        for name, key in self._remembered.dimensions.items():
            places = (attributes,) if name in found else (attributes, captured.baggage, resource)
            shown = next((text for place in places if (text := _shown(place.get(key))) is not None), None)
            if shown is not None:
                found[name] = shown
        return tuple(found.items())


class _Numbers(dict[Layout, int | None]):
    """`number_of` layouts, each asked for once."""

    __slots__ = ("_maker", "_scope", "_spans")

    def __init__(self, maker: FactsMaker, spans: EncodedSpans | WrittenSpans, scope: Scope) -> None:
        super().__init__()
        self._maker = maker
        self._spans = spans
        self._scope = scope

    def __missing__(self, layout: Layout) -> int | None:
        number = self[layout] = self._maker.number_of(layout, self._spans, self._scope)
        return number


def _hints(attributes: Attributes) -> Pairs:
    found = ((key, _shown(attributes[key])) for key in HINT_KEYS if key in attributes)
    return tuple((key, shown) for key, shown in found if shown)


def _shown(value: AttributeValue) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None
