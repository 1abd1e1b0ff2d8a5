"""From a decoded span to the facts that are journalled: the dialects' answer, the tenant it names, extra dimensions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spanmeter.usage.call import LlmCall, SpanFacts
from spanmeter.usage.dialects import DIALECTS
from spanmeter.usage.dialects.dialect import Dialect
from spanmeter.usage.facts import FactsMaker, Remembered
from spanmeter.usage.layouts import EncodedSpans, WrittenSpans
from spanmeter.usage.named import HINT_KEYS
from spanmeter.usage.packing import PackedFacts
from spanmeter.usage.shapes import SERVICE_KEYS
from spanmeter.usage.span import Span, Vocabulary, pack_link


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """Reads spans by a fixed set of dialects, tenant attributes and dimensions.

    `tenant_attributes` are keys in order of preference; `key#name` reads `name` inside an attribute whose value is a
    JSON object or a key-value list. `dimensions` maps a name in the event's `data` to an attribute key.
    """

    tenant_attributes: Sequence[str]
    dimensions: Mapping[str, str] = field(default_factory=dict)
    dialects: Sequence[Dialect] = DIALECTS
    _remembered: Remembered = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_remembered", Remembered(self.ask, self.tenant_attributes, self.dimensions))

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
        maker = FactsMaker(self._remembered, received_ns=received_ns, credential_tenant=credential_tenant)
        return maker.found[0] if maker.add(span) else None

    def pack(
        self,
        spans: Iterable[Span],
        encoded: Iterable[EncodedSpans] = (),
        written: Iterable[WrittenSpans] = (),
        *,
        received_ns: int,
        credential_tenant: str = "",
    ) -> tuple[PackedFacts, bytes]:
        """`facts` of all that have any, and the links of those that have none, see `Trace`.

        Raises MalformedError where what is encoded, or written, is broken.
        """
        maker = FactsMaker(self._remembered, received_ns=received_ns, credential_tenant=credential_tenant)
        links = [pack_link(span.trace_id, span.span_id, span.parent_span_id) for span in spans if not maker.add(span)]
        for group in encoded:
            links += maker.add_encoded(group)
        for some in written:
            links += maker.add_written(some)
        return maker.found, b"".join(links)

    def ask(self, span: Span) -> LlmCall | None:
        """The first dialect's answer that has one."""
        for dialect in self.dialects:
            call = dialect.recognise(span)
            if call is not None:
                return call
        return None
