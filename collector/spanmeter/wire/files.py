"""Recorded OTLP: files and pipes, whatever they hold, one request at a time.

Formats, told apart by their first bytes: an OTLP protobuf body; a JSON document; JSON lines and length-prefixed
protobuf as the OpenTelemetry Collector's file exporter writes them; each of them also gzipped.
"""

import gzip
import io
import itertools
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from spanmeter.errors import MalformedError, UsageError
from spanmeter.usage.span import Vocabulary
from spanmeter.wire.json import decode_json, is_incomplete
from spanmeter.wire.parts import PART_BYTES, parts
from spanmeter.wire.protobuf import decode_protobuf
from spanmeter.wire.request import DecodedRequest

STANDARD_INPUT = "-"

# Enough to tell formats apart, and little enough that a pipe's first short line is not waited on.
_HEAD_BYTES = 64
_BUFFER_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# A protobuf body begins with the tag of field 1, which is also a line feed: the JSON has to be recognised by more. In
# protobuf, `\n{` would be a field of 123 bytes, and what may follow in it is no quotation mark before a letter.
_JSON_OBJECT = re.compile(rb"\s*\{\s*(?:\"[ -~]|\}|\Z)")
_OTHER_JSON = re.compile(rb"\s*[\[\"\-0-9tfn{]")
_BLANK = re.compile(rb"\s*\Z")

# The file exporter puts a 4-byte big-endian length before each message. Under 128 MiB its first byte is 0 to 7: as a
# protobuf tag that would be field 0, which does not exist.
_PREFIX_BYTES = 4
_HIGHEST_PREFIX = 0x07
_MOST_MESSAGE_BYTES = 128 << 20

# JSON cannot be cut before it was read: a document is held whole, with up to seven times as much beside it. It may be
# as large as one that `serve` takes by default.
_MOST_JSON_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One request as it stands in a file. `place` says where, for a person; `position` is how many bytes of the file
    were read so far, compressed as they are."""

    path: str
    place: str
    body: bytes
    is_json: bool
    position: int
    first_line: int = 0
    """Of a JSON document over several lines; 0 for anything else."""


def read_file(path: str, vocabulary: Vocabulary) -> Iterator[DecodedRequest]:
    """The requests of a file, or of standard input if `path` is "-": its pieces, decoded."""
    for piece in read_pieces(path):
        request = decode_piece(piece, vocabulary)
        with placed(piece):
            request = request.decoded()
        yield request


def read_pieces(path: str) -> Iterator[Piece]:
    """The requests of a file as they stand there. An empty file has none.

    JSON lines and length-prefixed messages are read one at a time, compressed or not. A protobuf body of more than
    `PART_BYTES` is cut into several requests; a JSON document is one, and is held in memory.

    Raises, when the iterator gets there: UsageError where the file cannot be read, MalformedError where it cannot be
    taken apart; its message begins with the path and says the line or the byte. What came before was yielded.
    """
    with ExitStack() as open_files:
        try:
            if path == STANDARD_INPUT:
                source: io.BufferedIOBase = cast("io.BufferedReader", sys.stdin.buffer)
            else:
                source = open_files.enter_context(Path(path).open("rb"))
            yield from _pieces(path, source)
        except MalformedError as error:
            raise MalformedError(f"{_shown(path)}: {error.message}", hint=error.hint) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise MalformedError(f"{_shown(path)}: gzip data broken or cut short: {error}") from None
        except OSError as error:
            raise UsageError(f"{_shown(path)}: {error.strerror or error}") from None


def decode_piece(piece: Piece, vocabulary: Vocabulary) -> DecodedRequest:
    """Metrics and logs in JSON give requests without spans. Raises MalformedError with the file and the place."""
    with placed(piece):
        return (decode_json if piece.is_json else decode_protobuf)(piece.body, vocabulary)


@contextmanager
def placed(piece: Piece) -> Iterator[None]:
    """A MalformedError from within is given the file and the place: spans may be looked into long after decoding."""
    try:
        yield
    except MalformedError as error:
        place = piece.place
        found = re.search(r"\(byte (\d+)\)", error.message) if piece.first_line else None
        if found:
            line = piece.first_line + piece.body.count(b"\n", 0, int(found[1]))
            place = f"line {line}: "
        raise MalformedError(f"{_shown(piece.path)}: {place}{error.message}", hint=error.hint) from None


def _shown(path: str) -> str:
    return "standard input" if path == STANDARD_INPUT else path


def _pieces(path: str, source: io.BufferedIOBase) -> Iterator[Piece]:
    head, stream = _peeked(source)
    if head.startswith(_GZIP_MAGIC):
        head, stream = _peeked(gzip.GzipFile(fileobj=stream))
    if _ZSTD_MAGIC in (head[:4], head[_PREFIX_BYTES : _PREFIX_BYTES + 4]):
        raise MalformedError("compressed with zstd", hint="decompress it first: zstd -d")
    if head.startswith(_BYTE_ORDER_MARK):
        stream.read(len(_BYTE_ORDER_MARK))
        head = head[len(_BYTE_ORDER_MARK) :]
    if _JSON_OBJECT.match(head) or _BLANK.match(head) or (head[:1] != b"\n" and _OTHER_JSON.match(head)):
        found, is_json = _json_pieces(stream), True
    elif head[0] <= _HIGHEST_PREFIX:
        found, is_json = _prefixed_pieces(stream), False
    else:
        found, is_json = _protobuf_pieces(stream), False
    is_file, position = source.seekable(), 0
    for place, body, first_line in found:
        position = source.tell() if is_file else position + len(body)
        yield Piece(path=path, place=place, body=body, is_json=is_json, position=position, first_line=first_line)


def _json_pieces(stream: io.BufferedReader) -> Iterator[tuple[str, bytes, int]]:
    is_first = True
    for number in itertools.count(1):
        line = stream.readline(_MOST_JSON_BYTES + 1)
        if not line:
            return
        if not line.strip():
            continue
        if is_first and len(line) <= _MOST_JSON_BYTES and is_incomplete(line):
            line += stream.read(_MOST_JSON_BYTES)
            place, first_line = "", number  # one document over several lines
        else:
            place, first_line = f"line {number}: ", 0
        if len(line) > _MOST_JSON_BYTES:
            raise MalformedError(
                f"{place}more than {_MOST_JSON_BYTES >> 20} MiB in one JSON document",
                hint="write a request a line: jq -c '.resourceSpans[] | {resourceSpans: [.]}'",
            )
        is_first = False
        yield place, line, first_line


def _protobuf_pieces(stream: io.BufferedReader) -> Iterator[tuple[str, bytes, int]]:
    body = stream.read(PART_BYTES + 1)
    if len(body) <= PART_BYTES:
        yield "", body, 0
    else:
        yield from _cut(parts(io.BufferedReader(_Rewound(body, stream), _BUFFER_BYTES)))


def _cut(found: Iterator[tuple[int, bytes]]) -> Iterator[tuple[str, bytes, int]]:
    for at, body in found:
        yield f"part that begins at byte {at}: ", body, 0


def _prefixed_pieces(stream: io.BufferedReader) -> Iterator[tuple[str, bytes, int]]:
    offset = 0
    while prefix := stream.read(_PREFIX_BYTES):
        length = int.from_bytes(prefix, "big")
        if len(prefix) < _PREFIX_BYTES or length > _MOST_MESSAGE_BYTES:
            raise MalformedError(f"byte {offset}: no length of a message")
        offset += _PREFIX_BYTES
        if length > PART_BYTES:
            yield from _cut(parts(stream, offset=offset, length=length))
        else:
            message = stream.read(length)
            if len(message) < length:
                at = offset - _PREFIX_BYTES
                raise MalformedError(f"byte {at}: a message of {length} bytes, {len(message)} are left")
            yield f"message at byte {offset}: ", message, 0
        offset += length


class _Rewound(io.RawIOBase):
    """A stream with what was already read from it put back: a pipe cannot seek."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        if not piece:
            piece = self._rest.read1(min(len(buffer), _BUFFER_BYTES))
        buffer[: len(piece)] = piece
        return len(piece)


def _peeked(source: io.BufferedIOBase) -> tuple[bytes, io.BufferedReader]:
    head = source.read(_HEAD_BYTES)
    return head, io.BufferedReader(_Rewound(head, source), _BUFFER_BYTES)
