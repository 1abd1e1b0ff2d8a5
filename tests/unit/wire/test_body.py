import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.errors import MalformedError, TooLargeError, UnsupportedError
from spanmeter.wire.body import Encoding, decode, encoding_of, inflate
from tests.unit.wire.bodies import VOCABULARY, add_span, request, to_json

BODY = bytes(range(256)) * 200


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        (" GZIP ", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("gzip", gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        ("gzip", gzip.compress(BODY) + bytes(20)),
        ("gzip", b"".join(gzip.compress(BODY[at : at + 50], 0) for at in range(0, len(BODY), 50))),
    ],
)
def test_what_was_sent_comes_out(encoding: str, body: bytes) -> None:
    assert inflate(body, encoding, limit=len(BODY)) == BODY
    with pytest.raises(TooLargeError, match=f"{len(BODY) - 1}"):
        inflate(body, encoding, limit=len(BODY) - 1)


def test_an_empty_body_stays_empty() -> None:
    assert inflate(b"", "", limit=0) == b""
    assert inflate(gzip.compress(b""), "gzip", limit=0) == b""
    assert inflate(gzip.compress(b"a") + gzip.compress(b""), "gzip", limit=1) == b"a"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b""),
        ("gzip", BODY),
        ("gzip", zlib.compress(BODY)),
        ("gzip", gzip.compress(BODY) + b"x"),
        ("gzip", gzip.compress(BODY)[:-8] + bytes(8)),
        ("deflate", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY) + b"x"),
    ],
)
def test_corrupt_data_is_malformed(encoding: str, body: bytes) -> None:
    with pytest.raises(MalformedError, match="compressed body"):
        inflate(body, encoding, limit=1 << 20)


def test_data_cut_anywhere_is_malformed() -> None:
    body = gzip.compress(BODY[:300])
    for end in range(len(body)):
        with pytest.raises(MalformedError, match="cut short"):
            inflate(body[:end], "gzip", limit=1 << 20)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_random_bytes_are_malformed_or_inflate(body: bytes) -> None:
    for encoding in ("gzip", "deflate"):
        try:
            inflate(body, encoding, limit=100)
        except (MalformedError, TooLargeError) as error:
            assert "body" in error.message


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join([packer.compress(zeros) for _ in range(100)]) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="after decompression"):
            inflate(bomb, "gzip", limit=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_other_encodings_are_unsupported(encoding: str) -> None:
    with pytest.raises(UnsupportedError, match="send gzip, deflate or none"):
        inflate(b"", encoding, limit=1)


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/x-protobuf", Encoding.PROTOBUF),
        ("application/json", Encoding.JSON),
        ("Application/JSON; charset=utf-8", Encoding.JSON),
        ("application/x-protobuf;v=1", Encoding.PROTOBUF),
    ],
)
def test_content_types(content_type: str, encoding: Encoding) -> None:
    assert encoding_of(content_type) is encoding


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-ndjson", "application/jsonx"])
def test_other_content_types_are_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedError, match="send application/x-protobuf or application/json"):
        decode(b"", content_type, VOCABULARY)


def test_both_encodings_decode() -> None:
    message, spans = request()
    add_span(spans, {"tenant.id": "acme"})
    one = decode(message.SerializeToString(), "application/x-protobuf", VOCABULARY).decoded()
    other = decode(to_json(message), "application/json; charset=utf-8", VOCABULARY).decoded()
    assert one == other
    assert len(one.spans) == 1
