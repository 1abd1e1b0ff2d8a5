"""Spans of a protobuf body as they stand there: parsed down to their attributes, and no further."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import not_
from typing import Any

from google.protobuf.message import DecodeError

from spanmeter.usage.construct import make_span
from spanmeter.usage.layouts import EncodedRow
from spanmeter.usage.span import (
    NO_PARENT,
    NO_PARENT_LINK,
    PARENT_IS_REMOTE,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Attributes,
    Scope,
    Span,
)
from spanmeter.wire import messages
from spanmeter.wire.attributes import AttributeReader, AttributeTokens
from spanmeter.wire.fault import malformed
from spanmeter.wire.interest import Interest
from spanmeter.wire.links import pack_links
from spanmeter.wire.moulds import Moulds
from spanmeter.wire.request import ZERO_TRACE_ID, Rejections, id_fault, known_time

_ERROR_CODE = 2  # Status.StatusCode.STATUS_CODE_ERROR
_ERROR_STATUS = b"\x18\x02"  # a Status with that code and no message

_SIFTED_TOGETHER = 64
_LONG_BYTES = 2048  # spans with more of them, on the average, have long texts


class EncodedSpans:
    """The spans of one scope whose bytes hold a marker, see `usage.layouts.EncodedSpans`; or most of whose do, and they
    are not sifted yet."""

    __slots__ = ("_body", "_interest", "_is_sifted", "_rejections", "_resource", "_scope", "has_long_texts", "raw")

    def __init__(
        self,
        body: bytes,
        interest: Interest,
        resource: "Resource",
        scope: Any,
        spans: Sequence[bytes],
        rejections: Rejections,
        *,
        is_sifted: bool,
    ) -> None:
        self._is_sifted = is_sifted
        self._body = body
        self._interest = interest
        self._resource = resource
        self._scope = scope
        self.raw = spans
        self._rejections = rejections
        self.has_long_texts = sum(map(len, spans)) > _LONG_BYTES * len(spans)

    def __len__(self) -> int:
        return len(self.raw)

    def sifted(self, raw: Sequence[bytes]) -> tuple[Sequence[bytes], bytes]:
        if self._is_sifted or not raw:
            return raw, b""
        passed: list[bytes] = []
        return sift(raw, self._interest, passed), pack_links(passed, self._rejections)

    def rows(self, raw: Sequence[bytes]) -> Iterator[EncodedRow]:
        for message, encoded in zip(map(messages.Span.FromString, raw), raw, strict=True):
            # One at a time: so its memory is used again.
            trace_id, span_id, parent_id = message.trace_id, message.span_id, message.parent_span_id
            if (
                len(trace_id) != TRACE_ID_BYTES
                or len(span_id) != SPAN_ID_BYTES
                or trace_id == ZERO_TRACE_ID
                or span_id == NO_PARENT_LINK
                or (parent_id and (len(parent_id) != SPAN_ID_BYTES or parent_id == NO_PARENT_LINK))
            ):
                if fault := id_fault(trace_id, span_id, parent_id):
                    self._rejections.add(fault)
                    continue
                parent_id = NO_PARENT
            yield trace_id, span_id, parent_id, message, encoded

    @property
    def scope(self) -> Scope:
        name, version = self._scope.name, self._scope.version
        return Scope(name=name.decode("utf-8", "replace"), version=version.decode("utf-8", "replace"))

    def tokens(self, compared: frozenset[str]) -> AttributeTokens:
        return AttributeTokens(self._interest.reader, compared)

    def moulds(self) -> Moulds:
        return Moulds()

    @contextmanager
    def reading(self) -> Iterator[AttributeReader]:
        """Where a MalformedError takes the place of protobuf's."""
        try:
            yield self._interest.reader
        except DecodeError:
            raise malformed(self._body) from None

    def resource(self) -> Attributes:
        return self._resource.attributes()

    def decoded(self, row: EncodedRow, scope: Scope) -> Span | None:
        trace_id, span_id, parent_id, message, _ = row
        reader = self._interest.reader
        own = (reader.read_long if self.has_long_texts else reader.read)(message.attributes)
        if self._interest.keys.isdisjoint(own):
            return None
        return make_span(
            trace_id,
            span_id,
            parent_id,
            PARENT_IS_REMOTE[message.flags >> 8 & 3],
            message.name.decode("utf-8", "replace"),
            known_time(message.start_time_unix_nano),
            known_time(message.end_time_unix_nano),
            _is_error(message.status),
            own,
            self.resource(),
            scope,
        )


def sift(raw: Sequence[bytes], interest: Interest, passed: list[bytes]) -> Sequence[bytes]:
    """The spans whose bytes hold a marker; the others are added to `passed`. Most scopes have none that does: so many
    are searched at once, and one by one only if something was found."""
    search = interest.pattern.search
    marked: list[bytes] = []
    for begins in range(0, len(raw), _SIFTED_TOGETHER):
        some = raw[begins : begins + _SIFTED_TOGETHER]
        if search(b"".join(some)) is None:
            passed += some
        else:
            found = list(map(search, some))
            marked += compress(some, found)
            passed += compress(some, map(not_, found))
    return marked


class Resource:
    """A resource whose attributes are read when they are asked for, once."""

    __slots__ = ("_attributes", "_message", "_reader")

    def __init__(self, message: Any, reader: AttributeReader) -> None:
        self._message = message
        self._reader = reader
        self._attributes: Attributes | None = None

    def attributes(self) -> Attributes:
        if self._attributes is None:
            self._attributes = self._reader.read_together(self._message.attributes)
        return self._attributes


def _is_error(status: bytes) -> bool:
    if not status:
        return False
    return status == _ERROR_STATUS or messages.Status.FromString(status).code == _ERROR_CODE
