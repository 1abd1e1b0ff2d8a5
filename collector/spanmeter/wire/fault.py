"""Where a protobuf body is broken: protobuf's own parser says only that it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spanmeter.errors import MalformedError

_VARINT, _FIXED64, _LENGTH, _GROUP_START, _GROUP_END, _FIXED32 = range(6)
_MAX_VARINT_BYTES = 10
_MAX_FIELD = (1 << 29) - 1
# 0.2 s of work. A request of a thousand spans has about fifty thousand fields.
_MOST_FIELDS = 200_000

# Nested messages by field number. Arrays and lists inside a value are left to the parser: their fault is reported at
# the value that holds them.
_Shape = Mapping[int, "_Shape"]
_KEY_VALUE: _Shape = {2: {}}
_SPAN: _Shape = {9: _KEY_VALUE, 15: {}}
_SCOPE_SPANS: _Shape = {1: {}, 2: _SPAN}
_RESOURCE_SPANS: _Shape = {1: {1: _KEY_VALUE}, 2: _SCOPE_SPANS}
_REQUEST: _Shape = {1: _RESOURCE_SPANS}


class _BrokenError(Exception):
    def __init__(self, offset: int, found: str) -> None:
        super().__init__(f"byte {offset}: {found}")


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    start: int
    """Of the contents, where the field has a length."""
    end: int
    has_length: bool


def malformed(body: bytes) -> MalformedError:
    """For a body that protobuf refused. To be raised from None: protobuf's words add nothing, and its error would keep
    the body alive in a traceback."""
    return MalformedError(f"not an OTLP protobuf body: {find_fault(body)}")


def find_fault(body: bytes) -> str:
    """ "byte 17: …" for the first field that cannot be read. Slow: for errors only.

    Says nothing of the contents but lengths and numbers. "at no single byte" where each field can be read and the
    parser still refused (values nested too deep).
    """
    try:
        _walk(body, 0, len(body), _REQUEST, iter(range(_MOST_FIELDS)))
    except _BrokenError as error:
        return str(error)
    return "at no single byte (values nested too deep?)"


def _walk(body: bytes, start: int, end: int, shape: _Shape, budget: Iterator[int]) -> None:
    for field in _fields(body, start, end):
        if next(budget, None) is None:
            raise _BrokenError(field.start, "or after it")
        inner = shape.get(field.number)
        if inner is not None and field.has_length:
            _walk(body, field.start, field.end, inner, budget)


def _fields(body: bytes, at: int, end: int) -> Iterator[_Field]:
    groups: list[tuple[int, int]] = []
    while at < end:
        tag_at = at
        tag, at = _varint(body, at, end)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _MAX_FIELD:
            raise _BrokenError(tag_at, f"field number {number} does not exist")
        contents_at = at
        if wire_type == _VARINT:
            _, at = _varint(body, at, end)
        elif wire_type == _FIXED64:
            at += 8
        elif wire_type == _FIXED32:
            at += 4
        elif wire_type == _LENGTH:
            length, contents_at = _varint(body, at, end)
            at = contents_at + length
        elif wire_type == _GROUP_START:
            groups.append((number, tag_at))
        elif wire_type == _GROUP_END:
            if not groups or groups.pop()[0] != number:
                raise _BrokenError(tag_at, f"group {number} ends and was not begun")
        else:
            raise _BrokenError(tag_at, f"wire type {wire_type} does not exist")
        if at > end:
            raise _BrokenError(tag_at, f"field {number} needs {at - contents_at} bytes, {end - contents_at} are left")
        if not groups:
            yield _Field(number, contents_at, at, wire_type == _LENGTH)
    if groups:
        raise _BrokenError(groups[-1][1], f"group {groups[-1][0]} does not end")


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= end:
            raise _BrokenError(at, "ends inside a number")
        byte = body[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise _BrokenError(at, f"a number of more than {_MAX_VARINT_BYTES} bytes")
