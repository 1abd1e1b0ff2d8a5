"""What is read of OTLP's JSON encoding.

Source: OTLP specification 1.10, "JSON Protobuf Encoding": lowerCamelCase keys, ids in hexadecimal, 64-bit integers as
decimal strings or numbers, enum values as integers, unknown fields ignored; the rest as protobuf's own JSON mapping.
"""

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from spanmeter.usage.span import NO_PARENT, NO_PARENT_LINK
from spanmeter.wire.request import id_fault

_UnixNano = Annotated[int, Meta(ge=0)]
_UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]

# The specification allows integers only; senders that use protobuf's stock JSON printer write the name.
_ERROR_CODES = (2, "2", "STATUS_CODE_ERROR")


class AnyValue(Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | float | None = None  # JavaScript's SDK writes 1e21 as one (otlp-transformer, common/internal.ts)
    double_value: float | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KeyValueList | None" = None
    bytes_value: bytes | None = None


class KeyValue(Struct, gc=False):
    key: str | None = None
    value: AnyValue | None = None


class ArrayValue(Struct, gc=False):
    values: list[AnyValue] | None = None


class KeyValueList(Struct, gc=False):
    values: list[KeyValue] | None = None


class Status(Struct, gc=False):
    code: int | str | None = None


KeyValues = list[KeyValue] | None


class _SpanHead(Struct, rename="camel", gc=False):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: _UnixNano | None = None
    end_time_unix_nano: _UnixNano | None = None
    status: Status | None = None
    flags: _UInt32 | None = None

    @property
    def is_error(self) -> bool:
        return self.status is not None and self.status.code in _ERROR_CODES


class Span(_SpanHead, gc=False):
    attributes: KeyValues = None


class WrittenSpan(_SpanHead, gc=False):
    """Its attributes are left as they are written: JSON without a fault, but for text that is not UTF-8."""

    attributes: Raw = Raw(b"null")


AnySpan = Span | WrittenSpan


class Scope(Struct, gc=False):
    name: str | None = None
    version: str | None = None


_Span = TypeVar("_Span")


class ScopeSpans(Struct, Generic[_Span], gc=False):
    scope: Scope | None = None
    spans: list[_Span] | None = None


class Resource(Struct, gc=False):
    attributes: KeyValues = None


class ResourceSpans(Struct, Generic[_Span], rename="camel", gc=False):
    resource: Resource | None = None
    scope_spans: list[ScopeSpans[_Span]] | None = None


class Request(Struct, Generic[_Span], rename="camel", gc=False):
    resource_spans: list[ResourceSpans[_Span]] | None = None


# Not strict: numbers may come as strings. "NaN" and "Infinity" are among them.
request_of: Callable[[bytes], Request[WrittenSpan]] = Decoder(Request[WrittenSpan], strict=False).decode
key_values_of: Callable[[bytes | Raw], KeyValues] = Decoder(KeyValues, strict=False).decode
whole_request_of: Callable[[bytes], Request[Span]] = Decoder(Request[Span], strict=False).decode


def ids_of(span: AnySpan) -> tuple[bytes, bytes, bytes] | str:
    """Trace id, span id and the parent's (`NO_PARENT` for none); or why a span with these cannot be taken."""
    try:
        trace_id, span_id = bytes.fromhex(span.trace_id or ""), bytes.fromhex(span.span_id or "")
        parent_id = bytes.fromhex(span.parent_span_id) if span.parent_span_id else NO_PARENT
    except ValueError:
        return "an id that is not hexadecimal"
    fault = id_fault(trace_id, span_id, parent_id)
    return fault or (trace_id, span_id, NO_PARENT if parent_id == NO_PARENT_LINK else parent_id)
