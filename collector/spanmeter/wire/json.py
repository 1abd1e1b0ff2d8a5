"""OTLP's JSON encoding: request bodies to spans, whose attributes are left as they are written until somebody looks."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from msgspec import DecodeError

from spanmeter.errors import MalformedError
from spanmeter.usage.construct import make_span
from spanmeter.usage.span import PARENT_IS_REMOTE, Attributes, AttributeValue, Scope, Span, Vocabulary, pack_link
from spanmeter.wire import json_messages as messages
from spanmeter.wire.interest import Interest, interest_of
from spanmeter.wire.json_moulds import MOST_BYTES, JsonMoulds
from spanmeter.wire.request import DecodedRequest, Rejections, known_time

# An escaped backslash, a pair of surrogates, or else half a pair.
_ESCAPES = re.compile(r"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u[dD][89a-fA-F]\w\w")
_HALF_PAIR = 6

_SAMPLE_BYTES = 1 << 14

_Request = TypeVar("_Request")


def decode_json(body: bytes, vocabulary: Vocabulary) -> DecodedRequest:
    """Decodes an ExportTraceServiceRequest (or TracesData) in JSON. The attributes of spans are left as they are
    written, where moulds may fit: see `DecodedRequest`. `null` is as good as absent.

    Text that is not UTF-8, or is half a surrogate pair (an emoji cut in two), is kept with U+FFFD in its place.

    Raises MalformedError with the byte or the JSON path, never with any of the contents; so does looking into a span.
    """
    interest, rejections = interest_of(vocabulary), Rejections()
    is_for_moulds = _is_for_moulds(body, interest)
    with _reading(body):
        request = _parse(body, messages.request_of) if is_for_moulds else _parse(body, messages.whole_request_of)
        written: list[JsonSpans] = []
        for resource_spans in request.resource_spans or ():
            resource = _wanted(resource_spans.resource.attributes if resource_spans.resource else None, vocabulary.keys)
            for scope_spans in resource_spans.scope_spans or ():
                if scope_spans.spans:
                    scope = _scope(scope_spans.scope)
                    written.append(
                        JsonSpans(body, interest, vocabulary, resource, scope, scope_spans.spans, rejections)
                    )
    span_count = sum(len(group.raw) for group in written)
    found = DecodedRequest(written=written, span_count=span_count, rejections=rejections)
    return found if is_for_moulds else found.decoded()


def _is_for_moulds(body: bytes, interest: Interest) -> bool:
    """Whether most spans are short and have a key of interest, as far as the beginning tells: to decode the attributes
    of others by themselves takes longer."""
    sample = body[:_SAMPLE_BYTES]
    spans = sample.count(b'"traceId"')
    return len(sample) <= MOST_BYTES * spans and len(interest.written.findall(sample)) >= spans


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
        raw: Sequence[messages.AnySpan],
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

    def decoded(self, raw: messages.AnySpan) -> Span | bytes | None:
        attributes = _wanted(_key_values(raw), self._vocabulary.keys)
        ids = messages.ids_of(raw)
        if isinstance(ids, str):
            self._rejections.add(ids)
            return None
        if self._interest.keys.isdisjoint(attributes):
            return pack_link(*ids)
        return make_span(
            *ids,
            PARENT_IS_REMOTE[(raw.flags or 0) >> 8 & 3],
            raw.name or "",
            known_time(raw.start_time_unix_nano or 0),
            known_time(raw.end_time_unix_nano or 0),
            raw.is_error,
            attributes,
            self._resource,
            self.scope,
        )


def is_incomplete(text: bytes) -> bool:
    """Whether `text` is the beginning of a JSON document that goes on."""
    try:
        _parse(text, messages.request_of)
    except DecodeError as error:
        return "truncated" in str(error)  # msgspec has no class for it; a test holds it to the word
    except (ValueError, RecursionError):
        return False
    return False


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
        messages.whole_request_of(_mended(body))
    except DecodeError as error:
        return str(error)
    except (ValueError, RecursionError):
        pass
    return ""


def _parse(body: bytes, decoder: Callable[[bytes], _Request]) -> _Request:
    try:
        return decoder(body)
    except (UnicodeDecodeError, DecodeError):
        # A sender repeats a refused request unchanged: text that nobody bills must not stand in its way for ever.
        mended = _mended(body)
        if mended == body:
            raise
        return decoder(mended)


def _key_values(span: messages.AnySpan) -> messages.KeyValues:
    if isinstance(span, messages.Span):
        return span.attributes
    try:
        return messages.key_values_of(span.attributes)
    except UnicodeDecodeError:
        return messages.key_values_of(_mended(bytes(span.attributes)))


def _mended(text: bytes) -> bytes:
    mended = text.decode("utf-8", "replace")
    return _ESCAPES.sub(lambda found: r"\ufffd" if len(found[0]) == _HALF_PAIR else found[0], mended).encode()


def _scope(raw: messages.Scope | None) -> Scope:
    return Scope(name=raw.name or "", version=raw.version or "") if raw else Scope()


def _wanted(attributes: messages.KeyValues, keys: frozenset[str]) -> dict[str, AttributeValue]:
    """Of equal keys the last wins."""
    found: dict[str, AttributeValue] = {}
    for item in attributes or ():
        key = item.key
        if key in keys:
            found[key] = _any_value(item.value)
    return found


def _any_value(raw: messages.AnyValue | None) -> AttributeValue:
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
