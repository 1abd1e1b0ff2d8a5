"""A body that was cut says what it said whole."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanmeter.errors import MalformedError
from spanmeter.usage.span import Span
from spanmeter.wire import parts as parts_module
from spanmeter.wire.parts import parts
from tests.unit.wire.bodies import VOCABULARY, add_span, decode_protobuf, field, set_attributes, varint

SCOPES = st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=4)


def body_of(resources: list[list[list[int]]]) -> bytes:
    """A request with so many resources, scopes and spans, each span with a text of that size."""
    message, number = ExportTraceServiceRequest(), 0
    for place, scopes in enumerate(resources):
        resource_spans = message.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.37.0")
        set_attributes(resource_spans.resource.attributes, {"service.name": f"service {place}"})
        for sizes in scopes:
            scope_spans = resource_spans.scope_spans.add(schema_url="https://opentelemetry.io/schemas/1.37.0")
            scope_spans.scope.name = f"scope {number}"
            for size in sizes:
                number += 1
                add_span(scope_spans.spans, {"tenant.id": "x" * size}, span_id=number.to_bytes(8, "big"))
    return message.SerializeToString()


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time, and counts them."""

    def __init__(self, body: bytes, most: int) -> None:
        self._body = body
        self._most = most
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self._body[self.given :][: min(self._most, len(buffer))]
        buffer[: len(piece)] = piece
        self.given += len(piece)
        return len(piece)


def cut(body: bytes, part_bytes: int) -> list[bytes]:
    return [part for _, part in parts(io.BytesIO(body), part_bytes=part_bytes)]


def spans_of(*bodies: bytes) -> list[Span]:
    return [span for body in bodies for span in decode_protobuf(body, VOCABULARY).spans]


@given(resources=st.lists(SCOPES, max_size=4), part_bytes=st.integers(1, 2_000))
def test_the_parts_say_what_the_body_says(resources: list[list[list[int]]], part_bytes: int) -> None:
    body = body_of(resources)
    found = cut(body, part_bytes)
    assert spans_of(*found) == spans_of(body)
    assert all(len(part) < 2 * part_bytes + 1_000 for part in found)


@given(resources=st.lists(SCOPES, max_size=4), part_bytes=st.integers(1, 2_000), most=st.integers(1, 300))
def test_of_a_pipe_that_gives_little_the_same(resources: list[list[list[int]]], part_bytes: int, most: int) -> None:
    body = body_of(resources)
    pipe = io.BufferedReader(Dribble(body + b"what follows", most), buffer_size=1)
    found = list(parts(pipe, offset=7, length=len(body), part_bytes=part_bytes))
    assert found == [(at + 7, part) for at, part in parts(io.BytesIO(body), part_bytes=part_bytes)]
    assert pipe.read() == b"what follows"


@given(resources=st.lists(SCOPES, min_size=1, max_size=3), share=st.floats(0, 1))
def test_what_is_cut_short_is_told_or_ends_between_two_resources(
    resources: list[list[list[int]]], share: float
) -> None:
    body = body_of(resources)
    short = body[: int(share * len(body))]
    try:
        found = spans_of(*cut(short, 100))
    except MalformedError as error:
        assert error.message.startswith("byte ")
    else:
        assert found == spans_of(short)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_rubbish_is_malformed_or_has_no_spans(body: bytes, part_bytes: int) -> None:
    with contextlib.suppress(MalformedError):
        assert not spans_of(*cut(body, part_bytes))


def test_a_message_inside_a_stream_ends_where_its_length_says() -> None:
    body = body_of([[[50, 50, 50]], [[50]]])
    stream = io.BytesIO(b"before" + body + b"after")
    stream.seek(6)
    found = [part for _, part in parts(stream, offset=6, length=len(body), part_bytes=60)]
    assert spans_of(*found) == spans_of(body)
    assert stream.read() == b"after"


def test_entries_with_longer_numbers_than_need_be_are_cut_as_well() -> None:
    """No encoder writes them so, and protobuf allows it: they must not gather in memory."""
    spans = (varint(2 << 3 | 2, bytes_more=2) + varint(20, bytes_more=2) + b"x" * 20) * 9
    found = cut(field(1, field(2, spans)), 50)
    assert [part.count(b"x" * 20) for part in found] == [3, 3, 3]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (field(1, field(2, b"x" * 20)[:-1]), "byte 2: field 2 needs 20 bytes, 19 are left"),
        (field(1, field(2, field(2, b"x" * 20)) + field(1, b"late")), "byte 26: the resource of spans that were read"),
        (field(1, field(2, field(2, b"x" * 20) + field(1, b"late"))), "byte 26: the scope of spans that were read"),
        (field(1, field(2, field(2, b"x" * 70))), "byte 4: 70 bytes in one field 2 of a scope, more than 64"),
        (b"\x0b\x0c", "byte 1: wire type 3 does not exist"),
        (b"\xff" * 12, "byte 0: a number of more than 10 bytes"),
        (b"\x0a", "byte 1: ends inside a number"),
        (b"\x0a\x05abc", "byte 2: 5 bytes were to come, 3 are left"),
    ],
)
def test_faults_name_their_byte(body: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "MOST_ENTRY_BYTES", 64)
    with pytest.raises(MalformedError) as caught:
        cut(body, 10)
    assert caught.value.message.startswith(message)
