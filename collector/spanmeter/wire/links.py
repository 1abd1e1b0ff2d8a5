"""Links of spans that need no parsing: their ids, cut out by position where they stand as usual."""

import re
from collections.abc import Sequence
from operator import itemgetter
from struct import Struct

from spanmeter.usage.span import NO_PARENT, NO_PARENT_LINK, pack_link
from spanmeter.wire import messages
from spanmeter.wire.request import ZERO_TRACE_ID, Rejections, id_fault

# How every known encoder begins a span: trace_id, span_id, then trace_state and parent_span_id where there are any.
_TRACE_ID_TAG = b"\n\x10"
_SPAN_ID_TAG = b"\x12\x08"
_PARENT_TAG = b'"\x08'
_PARENT_BYTE = 0x22
_PARENT_OF_NONE = _PARENT_TAG + NO_PARENT_LINK
_NO_PARENT_TAG = re.compile(rb'[^"]')
_TRACE_STATE_BYTE = 0x1A
_ROOT_HEAD_BYTES = 28
_HEAD_BYTES = 38
_TAG_COLUMNS = ((29, 0x08), (28, _PARENT_BYTE), (19, 0x08), (18, 0x12), (1, 0x10), (0, 0x0A))

_head = itemgetter(slice(_HEAD_BYTES))
_LINK = Struct("16s8s8x")


def pack_links(spans: Sequence[bytes], rejections: Rejections) -> bytes:
    """The links of spans that need no parsing, most of them cut out of one string at a time: 10 times as fast."""
    heads = bytearray().join(map(_head, spans))
    if len(heads) < len(spans) * _HEAD_BYTES:
        return _each(spans, rejections)
    may_be_zero = NO_PARENT_LINK in heads
    odd: list[int] = []
    for found in _NO_PARENT_TAG.finditer(heads[_ROOT_HEAD_BYTES::_HEAD_BYTES]):
        at = found.start()
        span = spans[at]
        if span[_ROOT_HEAD_BYTES] == _TRACE_STATE_BYTE or span.find(_PARENT_TAG, _ROOT_HEAD_BYTES) >= 0:
            odd.append(at)
        else:  # a root: fields may come in any order, and nothing in it could be a parent
            heads[at * _HEAD_BYTES : (at + 1) * _HEAD_BYTES] = span[:_ROOT_HEAD_BYTES] + _PARENT_OF_NONE
    for at in reversed(odd):
        del heads[at * _HEAD_BYTES : (at + 1) * _HEAD_BYTES]
    links = _cut(heads)
    if links is None or (may_be_zero and _has_zero_id(links)):
        return _each(spans, rejections)
    return bytes(links) + _each([spans[at] for at in odd], rejections)


def _cut(heads: bytearray) -> bytearray | None:
    """The links of spans that begin like this; None if there are tags that are others. `heads` are not theirs after."""
    count = len(heads) // _HEAD_BYTES
    if any(heads[column::_HEAD_BYTES].count(tag) < count for column, tag in _TAG_COLUMNS):
        return None
    stride = _HEAD_BYTES
    for column, _ in _TAG_COLUMNS:
        del heads[column::stride]
        stride -= 1
    return heads


def _each(spans: Sequence[bytes], rejections: Rejections) -> bytes:
    return b"".join([_link(span, rejections) for span in spans])


def _has_zero_id(links: bytearray) -> bool:
    """Zeros may also be half of a trace id, where that was made of 64 bits, or a parent's id where there is none."""
    return any(span_id == NO_PARENT_LINK or trace_id == ZERO_TRACE_ID for trace_id, span_id in _LINK.iter_unpack(links))


def _link(span: bytes, rejections: Rejections) -> bytes:
    """The link of one span, by position where it begins as usual, else parsed; empty if the span is rejected."""
    trace_id, span_id, parent_id = _ids_by_position(span) or _ids_by_parsing(span)
    fault = id_fault(trace_id, span_id, parent_id)
    if fault:
        rejections.add(fault)
        return b""
    return pack_link(trace_id, span_id, parent_id)


def _ids_by_position(span: bytes) -> tuple[bytes, bytes, bytes] | None:
    size = len(span)
    if size < _ROOT_HEAD_BYTES or span[:2] != _TRACE_ID_TAG or span[18:20] != _SPAN_ID_TAG:
        return None
    at = _ROOT_HEAD_BYTES
    if at + 1 < size and span[at] == _TRACE_STATE_BYTE:
        if span[at + 1] > 0x7F:
            return None
        at += 2 + span[at + 1]
    if span[at : at + 2] == _PARENT_TAG and at + 10 <= size:
        parent_id = span[at + 2 : at + 10]
    # Fields may come in any order: a root span is one whose bytes nowhere hold what could be a parent.
    elif at > size or (at < size and span[at] == _PARENT_BYTE) or span.find(_PARENT_TAG, at) >= 0:
        return None
    else:
        parent_id = NO_PARENT
    return span[2:18], span[20:28], parent_id


def _ids_by_parsing(span: bytes) -> tuple[bytes, bytes, bytes]:
    message = messages.Span.FromString(span)
    return message.trace_id, message.span_id, message.parent_span_id
