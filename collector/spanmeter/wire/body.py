"""HTTP bodies: content encoding and content type, then the decoder that fits."""

import zlib
from enum import StrEnum

from spanmeter.errors import MalformedError, TooLargeError, UnsupportedError
from spanmeter.usage.span import Vocabulary
from spanmeter.wire.json import decode_json
from spanmeter.wire.protobuf import decode_protobuf
from spanmeter.wire.request import DecodedRequest

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# What is left over after one gzip member is copied to begin the next: small pieces keep a body of very many empty
# members from costing the square of its size.
_PIECE_BYTES = 8192


class Encoding(StrEnum):
    """OTLP's encodings. The value is the media type of requests and of their answers."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding:
    """The encoding that a Content-Type names; its parameters are ignored.

    Raises UnsupportedError for any other type, or none.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        return Encoding(media_type)
    except ValueError:
        raise UnsupportedError(
            f"content type {media_type[:100]!r} is not supported: send {' or '.join(Encoding)}"
        ) from None


def decode(body: bytes, content_type: str, vocabulary: Vocabulary) -> DecodedRequest:
    """Decodes an inflated body. Raises UnsupportedError for its type, MalformedError for its contents."""
    match encoding_of(content_type):
        case Encoding.PROTOBUF:
            return decode_protobuf(body, vocabulary)
        case Encoding.JSON:
            return decode_json(body, vocabulary)


def inflate(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Undoes a Content-Encoding: gzip (of one member or several), deflate (in zlib's format), identity or "".

    Never holds more than about twice `limit` bytes of output, however well the body is compressed.

    Raises TooLargeError where more than `limit` bytes would come out, MalformedError where the compressed data is
    corrupt, cut short or followed by something else, UnsupportedError for any other encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            if len(body) > limit:
                raise TooLargeError(f"body of {len(body)} bytes, over the limit of {limit}")
            return body
        case "gzip" | "x-gzip":
            return _inflate(body, _GZIP_WINDOW, limit)
        case "deflate":
            return _inflate(body, zlib.MAX_WBITS, limit)
        case other:
            raise UnsupportedError(f"content encoding {other[:100]!r} is not supported: send gzip, deflate or none")


def _inflate(body: bytes, window_bits: int, limit: int) -> bytes:
    output: list[bytes] = []
    size = 0
    stream = zlib.decompressobj(window_bits)
    is_between = False
    for at in range(0, len(body), _PIECE_BYTES):
        piece = body[at : at + _PIECE_BYTES]
        while piece:
            if is_between:
                piece = piece.lstrip(b"\0")  # RFC 1952 says nothing of padding; gzip itself ignores zeros
                if not piece:
                    break
                if window_bits != _GZIP_WINDOW:
                    raise MalformedError("compressed body: data after its end")
                stream = zlib.decompressobj(window_bits)
                is_between = False
            try:
                # One byte more than may come out, so that an output of exactly `limit` is not taken for too much.
                chunk = stream.decompress(piece, limit + 1 - size)
            except zlib.error as error:
                raise MalformedError(f"compressed body: {error}") from None
            output.append(chunk)
            size += len(chunk)
            if size > limit:
                raise TooLargeError(f"body of more than {limit} bytes after decompression, which is the limit")
            if stream.eof:
                is_between = True
                piece = stream.unused_data
            else:
                piece = stream.unconsumed_tail
    if not is_between:
        raise MalformedError("compressed body: cut short")
    return b"".join(output)
