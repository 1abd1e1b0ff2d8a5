"""A protobuf body that is too large to hold, as several smaller ones that say the same.

OTLP's messages are lists in lists: resources, in them scopes, in them spans. A body is cut between two entries of any
of them, and each part says again what stands above: its resource and its scope.
"""

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from spanmeter.errors import MalformedError

PART_BYTES = 512 << 10
"""A body of no more is left whole; a part ends with the entry that makes it as large, which may be as large itself."""
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
    cursor = _Cursor(stream, offset, length, ahead=part_bytes)
    for begins, pieces in _parts(cursor, None if length is None else offset + length, _LEVELS, part_bytes):
        yield begins, b"".join(pieces)


def _parts(
    cursor: "_Cursor", end: int | None, levels: tuple[_Level, ...], part_bytes: int
) -> Iterator[tuple[int, list[bytes]]]:
    level, *below = levels
    shared, is_cut = b"", False
    held: list[bytes] = []
    held_bytes, begins = 0, cursor.at
    while end is None or cursor.at < end:
        field = cursor.run(level.entries, most=part_bytes, enough=part_bytes - held_bytes, end=end)
        if not field:  # something else, or an entry that is large, broken, or written as no encoder does
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
                    yield begins, [shared, *held]
                for begins, inner in _parts(cursor, cursor.at + length, tuple(below), part_bytes):
                    yield begins, [shared, _opening(number, sum(map(len, inner))), *inner]
                held, held_bytes, begins, is_cut = [], 0, cursor.at, True
                continue
            if length > MOST_ENTRY_BYTES:
                raise MalformedError(
                    f"byte {field_at}: {length} bytes in one field {number} of a {level.name}, "
                    f"more than {MOST_ENTRY_BYTES}"
                )
            field = _opening(number, length) + cursor.take(length)
            if number == level.shared:
                if is_cut:
                    raise MalformedError(f"byte {field_at}: the {level.name} of spans that were read before")
                shared += field
                continue
        held.append(field)
        held_bytes += len(field)
        if held_bytes >= part_bytes:
            yield begins, [shared, *held]
            held, held_bytes, begins, is_cut = [], 0, cursor.at, True
    if held or not is_cut:
        yield begins, [shared, *held]


def _opening(number: int, length: int) -> bytes:
    """What stands before the contents of a field."""
    opening = bytearray([number << 3 | _LENGTH])
    while length > 0x7F:
        opening.append(length & 0x7F | 0x80)
        length >>= 7
    opening.append(length)
    return bytes(opening)


class _Cursor:
    """A stream, and where in it we are. Of `length` bytes, or all that come, some are read ahead."""

    def __init__(self, stream: io.BufferedIOBase, at: int, length: int | None, *, ahead: int) -> None:
        self.at = at
        self._stream = stream
        self._left = sys.maxsize if length is None else length  # of what may be read
        self._ahead = bytearray(2 * ahead + _SKIP_BYTES)  # what is enough but for a byte, and an entry
        self._begin = self._end = 0  # of what is in it

    def run(self, number: int, *, most: int, enough: int, end: int | None) -> bytes:
        """Fields of this number, with a length of `most` at most, that stand one behind the other from here on, as they
        stand there: until they come to `enough` bytes. None where something else comes, or what is broken."""
        tag = number << 3 | _LENGTH
        size = 0
        while size < enough:
            found = self._head(size)
            if found is None or found[0] != tag or found[1] > most:
                break
            _, length, after = found
            if (end is not None and self.at + after + length > end) or not self._fetch(after + length):
                break
            size = after + length
        return self._taken(size)

    def take(self, length: int) -> bytes:
        """So many bytes, however many may be read ahead."""
        taken = self._taken(min(length, self._end - self._begin))
        if len(taken) < length:
            rest = self._stream.read(min(length - len(taken), self._left))
            self._left -= len(rest)
            self.at += len(rest)
            taken += rest
        if len(taken) < length:
            at = self.at - len(taken)
            raise MalformedError(f"byte {at}: {length} bytes were to come, {len(taken)} are left")
        return taken

    def varint(self, *, may_end: bool = False) -> int | None:
        """A number; None at the end of the stream where that `may_end`."""
        value, began_at = 0, self.at
        for place in range(_MAX_VARINT_BYTES):
            if not self._fetch(1):
                if may_end and not place:
                    return None
                raise MalformedError(f"byte {began_at}: ends inside a number")
            byte = self._ahead[self._begin]
            self._begin += 1
            self.at += 1
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
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

    def _head(self, offset: int) -> tuple[int, int, int] | None:
        """First byte and length of the field that begins so far from here, and how far its contents are; None where it
        has not as much."""
        self._fetch(offset + 1 + _MAX_VARINT_BYTES)
        ahead, at, end = self._ahead, self._begin + offset, self._end
        length = shift = 0
        for place in range(at + 1, min(end, at + 1 + _MAX_VARINT_BYTES)):
            byte = ahead[place]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return ahead[at], length, place + 1 - self._begin
            shift += 7
        return None

    def _fetch(self, size: int) -> bool:
        """Whether so much is to come, which may be as much as is read ahead: it has been read then."""
        ahead = self._ahead
        if self._begin + size > len(ahead):
            there = self._end - self._begin
            ahead[:there] = ahead[self._begin : self._end]
            self._begin, self._end = 0, there
        while self._end < self._begin + size:
            room = min(len(ahead) - self._end, self._left)
            with memoryview(ahead) as view:
                read = self._stream.readinto1(view[self._end : self._end + room]) if room else 0
            if not read:
                return False
            self._end += read
            self._left -= read
        return True

    def _taken(self, size: int) -> bytes:
        with memoryview(self._ahead) as view:
            taken = bytes(view[self._begin : self._begin + size])
        self._begin += size
        self.at += size
        return taken
