"""A protobuf body that is too large to hold, as several smaller ones that say the same.

OTLP's messages are lists in lists: resources, in them scopes, in them spans. A body is cut between two entries of any
of them, and each part says again what stands above: its resource and its scope.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from spanmeter.errors import MalformedError

PART_BYTES = 2 << 20
"""A body of no more is left whole; a part ends with the entry that makes it as large."""
MOST_ENTRY_BYTES = 128 << 20
"""Of one span, or of what all spans of a resource or a scope share."""

_LENGTH = 2  # protobuf's wire type of all that has one
_MAX_VARINT_BYTES = 10
_SKIP_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """The fields of a message that matter: its entries, and what they share. The others are passed over."""

    name: str
    entries: int
    shared: int | None = None


_LEVELS = (
    _Level(name="body", entries=1),
    _Level(name="resource", entries=2, shared=1),
    _Level(name="scope", entries=2, shared=1),
)


def parts(
    stream: io.BufferedIOBase, *, offset: int = 0, length: int | None = None, part_bytes: int = PART_BYTES
) -> Iterator[tuple[int, bytes]]:
    """The bodies, each with the byte at which it begins; `stream` stands at byte `offset`, and what is to be cut ends
    after `length` bytes, or with the stream.

    Raises MalformedError with the byte where it cannot be cut: it is broken, a single entry is larger than
    `MOST_ENTRY_BYTES`, or what the entries share stands behind them, where no encoder puts it.
    """
    cursor = _Cursor(stream, offset)
    yield from _parts(cursor, None if length is None else offset + length, _LEVELS, part_bytes)


def _parts(
    cursor: "_Cursor", end: int | None, levels: tuple[_Level, ...], part_bytes: int
) -> Iterator[tuple[int, bytes]]:
    level, *below = levels
    shared, is_cut = b"", False
    held: list[bytes] = []
    held_bytes, begins = 0, cursor.at
    while end is None or cursor.at < end:
        field_at = cursor.at
        tag = cursor.varint(may_end=end is None)
        if tag is None:
            break
        number, wire_type = tag >> 3, tag & 7
        if wire_type != _LENGTH or number not in {level.entries, level.shared}:
            cursor.skip(wire_type)
            continue
        length = cursor.varint() or 0
        if end is not None and cursor.at + length > end:
            left = end - cursor.at
            raise MalformedError(f"byte {field_at}: field {number} needs {length} bytes, {left} are left")
        if number == level.entries and length > part_bytes and below:
            if held:
                yield begins, shared + b"".join(held)
            for begins, inner in _parts(cursor, cursor.at + length, tuple(below), part_bytes):
                yield begins, shared + _field(number, inner)
            held, held_bytes, begins, is_cut = [], 0, cursor.at, True
            continue
        if length > MOST_ENTRY_BYTES:
            raise MalformedError(
                f"byte {field_at}: {length} bytes in one field {number} of a {level.name}, more than {MOST_ENTRY_BYTES}"
            )
        field = _field(number, cursor.take(length))
        if number == level.shared:
            if is_cut:
                raise MalformedError(f"byte {field_at}: the {level.name} of spans that were read before")
            shared += field
            continue
        held.append(field)
        held_bytes += len(field)
        if held_bytes >= part_bytes:
            yield begins, shared + b"".join(held)
            held, held_bytes, begins, is_cut = [], 0, cursor.at, True
    if held or not is_cut:
        yield begins, shared + b"".join(held)


def _field(number: int, contents: bytes) -> bytes:
    left = len(contents)
    length = bytearray()
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return b"%c%b%b" % (number << 3 | _LENGTH, bytes(length), contents)


class _Cursor:
    """A stream, and where in it we are."""

    def __init__(self, stream: io.BufferedIOBase, at: int) -> None:
        self._stream = stream
        self.at = at

    def take(self, length: int) -> bytes:
        found = self._stream.read(length)
        if len(found) < length:
            raise MalformedError(f"byte {self.at}: {length} bytes were to come, {len(found)} are left")
        self.at += length
        return found

    def varint(self, *, may_end: bool = False) -> int | None:
        """A number; None at the end of the stream where that `may_end`."""
        value, began_at = 0, self.at
        for place in range(_MAX_VARINT_BYTES):
            byte = self._stream.read(1)
            if not byte:
                if may_end and not place:
                    return None
                raise MalformedError(f"byte {began_at}: ends inside a number")
            self.at += 1
            value |= (byte[0] & 0x7F) << 7 * place
            if byte[0] < 0x80:
                return value
        raise MalformedError(f"byte {began_at}: a number of more than {_MAX_VARINT_BYTES} bytes")

    def skip(self, wire_type: int) -> None:
        match wire_type:
            case 0:  # a number
                self.varint()
            case 1:  # 64 bits
                self.take(8)
            case 5:  # 32 bits
                self.take(4)
            case 2:
                left = self.varint() or 0
                while left:
                    left -= len(self.take(min(left, _SKIP_BYTES)))
            case _:
                raise MalformedError(f"byte {self.at}: wire type {wire_type} does not exist")
