import gzip
import io
import itertools
import json
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from spanmeter.errors import MalformedError, UsageError
from spanmeter.wire import files
from spanmeter.wire.files import read_file
from spanmeter.wire.request import DecodedRequest
from tests.unit.wire.bodies import VOCABULARY, add_span, request, to_json


def body(tenant: str = "acme") -> tuple[bytes, bytes]:
    """One request in protobuf and in JSON."""
    message, spans = request()
    add_span(spans, {"tenant.id": tenant, "gen_ai.prompt": "secret text"})
    return message.SerializeToString(), to_json(message)


PROTOBUF, JSON = body()
OTHER_PROTOBUF, OTHER_JSON = body("umbrella")


def prefixed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


def read(tmp_path: Path, content: bytes) -> list[DecodedRequest]:
    path = tmp_path / "recorded"
    path.write_bytes(content)
    return list(read_file(str(path), VOCABULARY))


def tenants(requests: list[DecodedRequest]) -> list[object]:
    return [span.attributes["tenant.id"] for decoded in requests for span in decoded.spans]


PRETTY = json.dumps(json.loads(JSON), indent=2).encode()
SPAN_ID_LINE = PRETTY[: PRETTY.index(b'"spanId"')].count(b"\n") + 1
FORMATS = {
    "protobuf": (PROTOBUF, ["acme"]),
    "json": (JSON, ["acme"]),
    "json, pretty": (PRETTY, ["acme"]),
    "json, pretty, after blank lines": (b"\n\n" + PRETTY + b"\n\n", ["acme"]),
    "json, brace alone": (b"{\n\n\n" + JSON[1:], ["acme"]),
    "json, after a line feed": (b"\n" + JSON, ["acme"]),
    "json, byte order mark": (b"\xef\xbb\xbf" + JSON, ["acme"]),
    "json lines": (JSON + b"\n" + OTHER_JSON + b"\n", ["acme", "umbrella"]),
    "json lines, no last line feed": (JSON + b"\n" + OTHER_JSON, ["acme", "umbrella"]),
    "json lines, blank ones": (b"\r\n\n" + JSON + b"\r\n \n\n" + OTHER_JSON + b"\n\n", ["acme", "umbrella"]),
    "json lines, short first": (b"{}\n" + JSON + b"\n", ["acme"]),
    "prefixed": (prefixed(PROTOBUF, OTHER_PROTOBUF), ["acme", "umbrella"]),
    "prefixed, empty first": (prefixed(b"", OTHER_PROTOBUF), ["umbrella"]),
    "empty": (b"", []),
    "blank": (b"\n \n", []),
    "metrics": (b'{"resourceMetrics":[{"scopeMetrics":[]}]}', []),
    "logs": (b'{"resourceLogs":[]}\n{"resourceLogs":[]}\n', []),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised(tmp_path: Path, name: str) -> None:
    content, expected = FORMATS[name]
    assert tenants(read(tmp_path, content)) == expected
    assert tenants(read(tmp_path, gzip.compress(content))) == expected


def test_gzip_of_several_members(tmp_path: Path) -> None:
    content = gzip.compress(JSON[:50]) + gzip.compress(JSON[50:] + b"\n") + gzip.compress(OTHER_JSON)
    assert tenants(read(tmp_path, content)) == ["acme", "umbrella"]


def test_an_empty_file_has_no_request(tmp_path: Path) -> None:
    assert read(tmp_path, b"") == []


def test_a_protobuf_body_of_any_length_is_not_taken_for_json(tmp_path: Path) -> None:
    for length in range(200):
        message, spans = request()
        message.resource_spans[0].ClearField("resource")
        add_span(spans, {"tenant.id": "{" * length}, name="")
        assert tenants(read(tmp_path, message.SerializeToString())) == ["{" * length]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "line 1: not an OTLP JSON body: Expected `object`, got `array`"),
        (b"\n[1]\n", "not an OTLP protobuf body: byte 0: field 1 needs 91 bytes"),
        (JSON + b"\n\n{]\n" + JSON, "line 3: not an OTLP JSON body: JSON is malformed"),
        (JSON + b"\n" + JSON[:40], "line 2: not an OTLP JSON body: Input data was truncated"),
        (
            b'{"resourceSpans":5}\n',
            "line 1: not an OTLP JSON body: Expected `array | null`, got `int` - at `$.resourceSpans`",
        ),
        (
            b"\n" + PRETTY.replace(b'"spanId":', b'"spanId"', 1),
            f"line {SPAN_ID_LINE + 1}: not an OTLP JSON body: JSON is malformed",
        ),
        (PRETTY[:-5], "not an OTLP JSON body: Input data was truncated"),
        (PROTOBUF[:-1], "not an OTLP protobuf body: byte 0: field 1 needs"),
        (b"hello", "not an OTLP protobuf body: byte"),
        (prefixed(PROTOBUF) + b"\x00", f"byte {len(PROTOBUF) + 4}: no length of a message"),
        (prefixed(PROTOBUF)[:-1], f"byte 0: a message of {len(PROTOBUF)} bytes, {len(PROTOBUF) - 1} are left"),
        (prefixed(PROTOBUF, b"\x0a\x05"), f"message at byte {len(PROTOBUF) + 8}: not an OTLP protobuf body: byte 0"),
        (prefixed(PROTOBUF) + b"\xff" * 9, f"byte {len(PROTOBUF) + 4}: no length of a message"),
        (gzip.compress(JSON)[:-9], "gzip data broken or cut short"),
        (gzip.compress(JSON)[:60] + bytes(60), "gzip data broken or cut short"),
        (gzip.compress(JSON) + b"rubbish", "gzip data broken or cut short"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "compressed with zstd"),
        (prefixed(b"\x28\xb5\x2f\xfd" + bytes(50)), "compressed with zstd"),
    ],
    ids=itertools.count(),
)
def test_faults_are_named_with_file_and_place(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(tmp_path, content)
    assert caught.value.message.startswith(f"{tmp_path / 'recorded'}: {message}")
    assert "secret" not in caught.value.message


def large(number: int) -> bytes:
    """A body of 800 KB: more than is held at once."""
    message, spans = request()
    for place in range(4):
        add_span(spans, {"tenant.id": f"{number}-{place}", "gen_ai.prompt": "x" * 200_000})
    return message.SerializeToString()


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("is_prefixed", [False, True])
def test_large_protobuf_is_read_in_parts(tmp_path: Path, is_prefixed: bool, is_compressed: bool) -> None:
    bodies = [large(0), PROTOBUF, large(1)]
    content = prefixed(*bodies) if is_prefixed else b"".join(bodies)
    requests = read(tmp_path, gzip.compress(content, 1) if is_compressed else content)
    assert tenants(requests) == [*(f"0-{place}" for place in range(4)), "acme", *(f"1-{place}" for place in range(4))]
    assert [len(decoded.spans) for decoded in requests] == [3, 1, 1, 3, 1]
    with pytest.raises(MalformedError, match=r"recorded: byte \d+: 2000\d+ bytes were to come, 1990\d+ are left"):
        read(tmp_path, content[:-1000])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (JSON + b"\n" + JSON.replace(b"secret", b"x" * 5_000), "line 2: more than 0 MiB in one JSON document"),
        (PRETTY.replace(b"secret", b"x" * 5_000), "more than 0 MiB in one JSON document"),
    ],
)
def test_json_that_is_too_large_is_not_held(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_JSON_BYTES", 4_000)
    with pytest.raises(MalformedError) as caught:
        read(tmp_path, content)
    assert caught.value.message == f"{tmp_path / 'recorded'}: {message}"


def test_what_comes_before_a_fault_is_yielded(tmp_path: Path) -> None:
    path = tmp_path / "recorded"
    path.write_bytes(JSON + b"\n{]\n")
    requests = read_file(str(path), VOCABULARY)
    assert tenants([next(requests)]) == ["acme"]
    with pytest.raises(MalformedError, match="line 2"):
        next(requests)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file or directory"):
        list(read_file(str(tmp_path / "missing"), VOCABULARY))
    with pytest.raises(UsageError, match="Is a directory"):
        list(read_file(str(tmp_path), VOCABULARY))


@pytest.mark.parametrize("content", [JSON + b"\n" + OTHER_JSON, gzip.compress(JSON + b"\n" + OTHER_JSON)])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert tenants(list(read_file("-", VOCABULARY))) == ["acme", "umbrella"]


def test_standard_input_is_named_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input = io.TextIOWrapper(io.BytesIO(b"{]"))
    monkeypatch.setattr(sys, "stdin", standard_input)
    with pytest.raises(MalformedError, match=r"^standard input: line 1: "):
        list(read_file("-", VOCABULARY))
    assert not standard_input.closed


def test_a_line_from_a_pipe_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "r") as standard_input, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", standard_input)
        pipe.write(JSON + b"\n")
        # Were the line held back, the test would fail for want of it instead of hanging.
        timer = threading.Timer(10, pipe.close)
        timer.start()
        first = next(read_file("-", VOCABULARY))
        timer.cancel()
        assert not pipe.closed
        assert tenants([first]) == ["acme"]


@pytest.mark.parametrize("is_compressed", [False, True])
def test_json_lines_take_constant_memory(tmp_path: Path, is_compressed: bool) -> None:
    path = tmp_path / "recorded"
    content = (JSON + b"\n") * 10_000
    path.write_bytes(gzip.compress(content, 1) if is_compressed else content)
    size = len(content)
    del content
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_file(str(path), VOCABULARY))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 1 << 20 < size
