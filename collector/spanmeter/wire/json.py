"""OTLP's JSON encoding: request bodies to spans.

Source: OTLP specification 1.x, "JSON Protobuf Encoding": lowerCamelCase keys, ids in hexadecimal, 64-bit integers as
decimal strings or numbers, enum values as integers, unknown fields ignored; the rest as protobuf's own JSON mapping.
"""

import re
from typing import Annotated

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from spanmeter.errors import MalformedError
from spanmeter.usage.span import (
    NO_PARENT,
    NO_PARENT_LINK,
    PARENT_IS_REMOTE,
    Attributes,
    AttributeValue,
    Scope,
    Span,
    Vocabulary,
    pack_link,
)
from spanmeter.wire.interest import Interest, interest_of
from spanmeter.wire.request import DecodedRequest, Rejections, id_fault, known_time

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_UnixNano = Annotated[int, Meta(ge=0)]
_UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class _AnyValue(Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int64 | None = None
    double_value: float | None = None
    array_value: "_ArrayValue | None" = None
    kvlist_value: "_KeyValueList | None" = None
    bytes_value: bytes | None = None


class _KeyValue(Struct):
    key: str | None = None
    value: _AnyValue | None = None


class _ArrayValue(Struct):
    values: list[_AnyValue] | None = None


class _KeyValueList(Struct):
    values: list[_KeyValue] | None = None


class _Status(Struct):
    code: int | str | None = None


class _Span(Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: _UnixNano | None = None
    end_time_unix_nano: _UnixNano | None = None
    attributes: list[_KeyValue] | None = None
    status: _Status | None = None
    flags: _UInt32 | None = None


class _Scope(Struct):
    name: str | None = None
    version: str | None = None


class _ScopeSpans(Struct):
    scope: _Scope | None = None
    spans: list[_Span] | None = None


class _Resource(Struct):
    attributes: list[_KeyValue] | None = None


class _ResourceSpans(Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Request(Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


# Not strict: numbers may come as strings. "NaN" and "Infinity" are among them.
_DECODER = Decoder(_Request, strict=False)

# The specification allows integers only; senders that use protobuf's stock JSON printer write the name.
_ERROR_CODES = (2, "2", "STATUS_CODE_ERROR")

# An escaped backslash, a pair of surrogates, or else half a pair.
_ESCAPES = re.compile(r"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u[dD][89a-fA-F]\w\w")
_HALF_PAIR = 6


def decode_json(body: bytes, vocabulary: Vocabulary) -> DecodedRequest:
    """Decodes an ExportTraceServiceRequest (or TracesData) in JSON. `null` is as good as absent.

    Text that is not UTF-8, or is half a surrogate pair (an emoji cut in two), is kept with U+FFFD in its place.

    Raises MalformedError with the byte or the JSON path, never with any of the contents.
    """
    try:
        return _decode(_parse(body), interest_of(vocabulary), vocabulary.keys)
    except RecursionError:
        raise MalformedError("not an OTLP JSON body: nested too deep") from None
    except DecodeError as error:
        # From None: the error would keep the body alive in a traceback. msgspec's words name types, paths and bytes.
        raise MalformedError(f"not an OTLP JSON body: {error}") from None
    except ValueError:  # an integer longer than Python converts
        raise MalformedError("not an OTLP JSON body: a value out of range") from None


def is_incomplete(text: bytes) -> bool:
    """Whether `text` is the beginning of a JSON document that goes on."""
    try:
        _parse(text)
    except DecodeError as error:
        return "truncated" in str(error)  # msgspec has no class for it; a test holds it to the word
    except (ValueError, RecursionError):
        return False
    return False


def _parse(body: bytes) -> _Request:
    try:
        return _DECODER.decode(body)
    except (UnicodeDecodeError, DecodeError):
        # A sender repeats a refused request unchanged: text that nobody bills must not stand in its way for ever.
        mended = _mend(body)
        if mended == body:
            raise
        return _DECODER.decode(mended)


def _mend(body: bytes) -> bytes:
    text = body.decode("utf-8", "replace")
    return _ESCAPES.sub(lambda found: r"\ufffd" if len(found[0]) == _HALF_PAIR else found[0], text).encode()


def _decode(request: _Request, interest: Interest, keys: frozenset[str]) -> DecodedRequest:
    rejections = Rejections()
    spans: list[Span] = []
    links: list[bytes] = []
    span_count = 0
    for resource_spans in request.resource_spans or ():
        resource = _wanted(resource_spans.resource.attributes if resource_spans.resource else None, keys)
        for scope_spans in resource_spans.scope_spans or ():
            scope = _scope(scope_spans.scope)
            for raw in scope_spans.spans or ():
                span_count += 1
                span = _span(raw, keys, resource, scope)
                if isinstance(span, str):
                    rejections.add(span)
                elif interest.keys.isdisjoint(span.attributes):
                    links.append(pack_link(span.trace_id, span.span_id, span.parent_span_id))
                else:
                    spans.append(span)
    return DecodedRequest(
        spans=spans,
        links=b"".join(links),
        span_count=span_count,
        rejections=rejections,
    )


def _span(raw: _Span, keys: frozenset[str], resource: Attributes, scope: Scope) -> Span | str:
    """The span, or why it is rejected."""
    try:
        trace_id = bytes.fromhex(raw.trace_id or "")
        span_id = bytes.fromhex(raw.span_id or "")
        parent_id = bytes.fromhex(raw.parent_span_id or "")
    except ValueError:
        return "an id that is not hexadecimal"
    fault = id_fault(trace_id, span_id, parent_id)
    if fault:
        return fault
    flags = raw.flags or 0
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=NO_PARENT if parent_id == NO_PARENT_LINK else parent_id,
        parent_is_remote=PARENT_IS_REMOTE[flags >> 8 & 3],
        name=raw.name or "",
        start_ns=known_time(raw.start_time_unix_nano or 0),
        end_ns=known_time(raw.end_time_unix_nano or 0),
        is_error=raw.status is not None and raw.status.code in _ERROR_CODES,
        attributes=_wanted(raw.attributes, keys),
        resource=resource,
        scope=scope,
    )


def _scope(raw: _Scope | None) -> Scope:
    return Scope(name=raw.name or "", version=raw.version or "") if raw else Scope()


def _wanted(attributes: list[_KeyValue] | None, keys: frozenset[str]) -> dict[str, AttributeValue]:
    """Of equal keys the last wins."""
    return {item.key: _any_value(item.value) for item in attributes or () if item.key in keys}


def _any_value(raw: _AnyValue | None) -> AttributeValue:
    if raw is None:
        return None
    if raw.array_value is not None:
        return tuple(_any_value(item) for item in raw.array_value.values or ())
    if raw.kvlist_value is not None:
        return {item.key or "": _any_value(item.value) for item in raw.kvlist_value.values or ()}
    for scalar in (raw.string_value, raw.bool_value, raw.int_value, raw.double_value, raw.bytes_value):
        if scalar is not None:
            return scalar
    return None
