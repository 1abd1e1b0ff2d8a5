"""A span as the rules see it, whatever brought it: protobuf, JSON or the SDK in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from spanmeter.binding import Bound

AttributeValue = str | bool | int | float | bytes | None | Sequence["AttributeValue"] | Mapping[str, "AttributeValue"]
"""OTLP's AnyValue: arrays are sequences, key-value lists are mappings."""

Attributes = Mapping[str, AttributeValue]

NO_PARENT = b""
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
LINK_BYTES = TRACE_ID_BYTES + 2 * SPAN_ID_BYTES
"""A link: trace id, span id and parent's span id, which is zeros for a root."""

NO_PARENT_LINK = bytes(SPAN_ID_BYTES)

LAST_NS = 2**63 - 1
"""In the year 2262. A later time is not known: OTLP has 64 bits for it, every store of ours 63."""

PARENT_IS_REMOTE: Final = (None, False, None, True)
"""By `flags >> 8 & 3`: opentelemetry-proto trace.proto, SpanFlags: bit 8 says that bit 9 is set on purpose."""


def pack_link(trace_id: bytes, span_id: bytes, parent_span_id: bytes) -> bytes:
    return trace_id + span_id + (parent_span_id or NO_PARENT_LINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The instrumentation scope: who wrote the span."""

    name: str = ""
    version: str = ""


class Captured(NamedTuple):
    """What the application's code had bound, and its baggage, when a span started; false if neither is there.
    `bound_above`: the span's parent has the same `bound`."""

    bound: Bound | None = None
    baggage: Attributes = MappingProxyType({})
    bound_above: bool = False

    def __bool__(self) -> bool:
        return self.bound is not None or bool(self.baggage)


NOTHING_CAPTURED: Final = Captured()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One ended span. Ids are raw bytes (16, 8 and 8; the parent's is empty on a root span); times are Unix ns.

    `attributes` and `resource` hold only the keys of the vocabulary that the decoder was given. A few of those are
    texts of a reply, which some instrumentations leave as the only place of an id or of counts: recognition takes these
    out, and nothing of the text goes into the facts that are stored. `parent_is_remote` is None where the sender did
    not say. `captured` is known of spans of this process only.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes = NO_PARENT
    parent_is_remote: bool | None = None
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    is_error: bool = False
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)
    scope: Scope = Scope()
    captured: Captured = NOTHING_CAPTURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a decoder keeps of a span.

    `keys`: the attribute keys that some rule reads. `markers`: short strings of which at least one occurs in the
    serialised form of every span that has a key of interest, so that a decoder may pass over a span, or a whole
    request, after a search through its bytes.
    """

    keys: frozenset[str]
    markers: tuple[str, ...]
