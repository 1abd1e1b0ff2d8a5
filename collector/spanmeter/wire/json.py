"""OTLP's JSON encoding: request bodies to spans, each left as it is written until somebody looks into it.

Source: OTLP specification 1.x, "JSON Protobuf Encoding": lowerCamelCase keys, ids in hexadecimal, 64-bit integers as
decimal strings or numbers, enum values as integers, unknown fields ignored; the rest as protobuf's own JSON mapping.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Generic, TypeVar, cast

from msgspec import DecodeError, Meta, Raw, Struct
from msgspec.json import Decoder

from spanmeter.errors import MalformedError
from spanmeter.usage.construct import make_span
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
from spanmeter.wire.json_moulds import JsonMoulds
from spanmeter.wire.request import DecodedRequest, Rejections, id_fault, known_time

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_UnixNano = Annotated[int, Meta(ge=0)]
_UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class _AnyValue(Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int64 | None = None
    double_value: float | None = None
    array_value: "_ArrayValue | None" = None
    kvlist_value: "_KeyValueList | None" = None
    bytes_value: bytes | None = None


class _KeyValue(Struct, gc=False):
    key: str | None = None
    value: _AnyValue | None = None


class _ArrayValue(Struct, gc=False):
    values: list[_AnyValue] | None = None


class _KeyValueList(Struct, gc=False):
    values: list[_KeyValue] | None = None


class _Status(Struct, gc=False):
    code: int | str | None = None


class _Span(Struct, rename="camel", gc=False):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: _UnixNano | None = None
    end_time_unix_nano: _UnixNano | None = None
    attributes: list[_KeyValue] | None = None
    status: _Status | None = None
    flags: _UInt32 | None = None


class _Scope(Struct, gc=False):
    name: str | None = None
    version: str | None = None


_AsSpan = TypeVar("_AsSpan")
"""What a span is decoded to."""


class _ScopeSpans(Struct, Generic[_AsSpan], gc=False):
    scope: _Scope | None = None
    spans: list[_AsSpan] | None = None


class _Resource(Struct, gc=False):
    attributes: list[_KeyValue] | None = None


class _ResourceSpans(Struct, Generic[_AsSpan], rename="camel", gc=False):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans[_AsSpan]] | None = None


class _Request(Struct, Generic[_AsSpan], rename="camel", gc=False):
    resource_spans: list[_ResourceSpans[_AsSpan]] | None = None


# Not strict: numbers may come as strings. "NaN" and "Infinity" are among them.
_REQUEST = Decoder(_Request[Raw], strict=False)
_SPAN = Decoder(_Span, strict=False)
_WHOLE = Decoder(_Request[_Span], strict=False)

# The specification allows integers only; senders that use protobuf's stock JSON printer write the name.
_ERROR_CODES = (2, "2", "STATUS_CODE_ERROR")

# An escaped backslash, a pair of surrogates, or else half a pair.
_ESCAPES = re.compile(r"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u[dD][89a-fA-F]\w\w")
_HALF_PAIR = 6


def decode_json(body: bytes, vocabulary: Vocabulary) -> DecodedRequest:
    """Decodes an ExportTraceServiceRequest (or TracesData) in JSON, whose spans are left as they are written: see
    `DecodedRequest`. `null` is as good as absent.

    Text that is not UTF-8, or is half a surrogate pair (an emoji cut in two), is kept with U+FFFD in its place.

    Raises MalformedError with the byte or the JSON path, never with any of the contents; so does looking into a span.
    """
    with _reading(body):
        request = _parse(body)
        interest, rejections = interest_of(vocabulary), Rejections()
        written: list[JsonSpans] = []
        for resource_spans in request.resource_spans or ():
            resource = _wanted(resource_spans.resource.attributes if resource_spans.resource else None, vocabulary.keys)
            for scope_spans in resource_spans.scope_spans or ():
                if scope_spans.spans:
                    scope = _scope(scope_spans.scope)
                    raw = cast("list[bytes]", scope_spans.spans)  # Raw may be read as bytes are, and is no copy
                    written.append(JsonSpans(body, interest, vocabulary, resource, scope, raw, rejections))
    return DecodedRequest(written=written, span_count=sum(len(spans.raw) for spans in written), rejections=rejections)


class JsonSpans:
    """The spans of one scope, see `usage.layouts.WrittenSpans`."""

    __slots__ = ("_body", "_interest", "_rejections", "_resource", "_vocabulary", "raw", "scope")

    def __init__(
        self,
        body: bytes,
        interest: Interest,
        vocabulary: Vocabulary,
        resource: Attributes,
        scope: Scope,
        raw: Sequence[bytes],
        rejections: Rejections,
    ) -> None:
        self._body = body
        self._interest = interest
        self._vocabulary = vocabulary
        self._resource = resource
        self.scope = scope
        self.raw = raw
        self._rejections = rejections

    def moulds(self) -> JsonMoulds:
        return JsonMoulds()

    @contextmanager
    def reading(self) -> Iterator[None]:
        with _reading(self._body):
            yield

    def resource(self) -> Attributes:
        return self._resource

    def decoded(self, raw: bytes) -> Span | bytes | None:
        try:
            span = _SPAN.decode(raw)
        except (UnicodeDecodeError, DecodeError):
            span = _SPAN.decode(_mend(raw))
        try:
            trace_id, span_id = bytes.fromhex(span.trace_id or ""), bytes.fromhex(span.span_id or "")
            parent_id = bytes.fromhex(span.parent_span_id) if span.parent_span_id else NO_PARENT
        except ValueError:
            self._rejections.add("an id that is not hexadecimal")
            return None
        if fault := id_fault(trace_id, span_id, parent_id):
            self._rejections.add(fault)
            return None
        attributes = _wanted(span.attributes, self._vocabulary.keys)
        if self._interest.keys.isdisjoint(attributes):
            return pack_link(trace_id, span_id, parent_id)
        return make_span(
            trace_id,
            span_id,
            NO_PARENT if parent_id == NO_PARENT_LINK else parent_id,
            PARENT_IS_REMOTE[(span.flags or 0) >> 8 & 3],
            span.name or "",
            known_time(span.start_time_unix_nano or 0),
            known_time(span.end_time_unix_nano or 0),
            span.status is not None and span.status.code in _ERROR_CODES,
            attributes,
            self._resource,
            self.scope,
        )


@contextmanager
def _reading(body: bytes) -> Iterator[None]:
    """What is broken becomes a MalformedError, which says where in all of the body."""
    try:
        yield
    except RecursionError:
        raise MalformedError("not an OTLP JSON body: nested too deep") from None
    except DecodeError as error:
        # From None: the error would keep the body alive in a traceback. msgspec's words name types, paths and bytes.
        raise MalformedError(f"not an OTLP JSON body: {_in_whole(body) or error}") from None
    except ValueError:  # an integer longer than Python converts
        raise MalformedError("not an OTLP JSON body: a value out of range") from None


def _in_whole(body: bytes) -> str:
    """msgspec's words about the first fault of a body; empty if it has none to say."""
    try:
        _WHOLE.decode(_mend(body))
    except DecodeError as error:
        return str(error)
    except (ValueError, RecursionError):
        pass
    return ""


def is_incomplete(text: bytes) -> bool:
    """Whether `text` is the beginning of a JSON document that goes on."""
    try:
        _parse(text)
    except DecodeError as error:
        return "truncated" in str(error)  # msgspec has no class for it; a test holds it to the word
    except (ValueError, RecursionError):
        return False
    return False


def _parse(body: bytes) -> _Request[Raw]:
    try:
        return _REQUEST.decode(body)
    except (UnicodeDecodeError, DecodeError):
        # A sender repeats a refused request unchanged: text that nobody bills must not stand in its way for ever.
        mended = _mend(body)
        if mended == body:
            raise
        return _REQUEST.decode(mended)


def _mend(text: bytes) -> bytes:
    mended = bytes(text).decode("utf-8", "replace")
    return _ESCAPES.sub(lambda found: r"\ufffd" if len(found[0]) == _HALF_PAIR else found[0], mended).encode()


def _scope(raw: _Scope | None) -> Scope:
    return Scope(name=raw.name or "", version=raw.version or "") if raw else Scope()


def _wanted(attributes: list[_KeyValue] | None, keys: frozenset[str]) -> dict[str, AttributeValue]:
    """Of equal keys the last wins."""
    found: dict[str, AttributeValue] = {}
    for item in attributes or ():
        key = item.key
        if key in keys:
            found[key] = _any_value(item.value)
    return found


def _any_value(raw: _AnyValue | None) -> AttributeValue:
    if raw is None:
        return None
    if raw.array_value is not None:
        return tuple(_any_value(item) for item in raw.array_value.values or ())
    if raw.kvlist_value is not None:
        return {item.key or "": _any_value(item.value) for item in raw.kvlist_value.values or ()}
    if raw.string_value is not None:
        return raw.string_value
    for scalar in (raw.bool_value, raw.int_value, raw.double_value, raw.bytes_value):
        if scalar is not None:
            return scalar
    return None
