"""Recordings of any size, piece by piece, in which no span and no response comes twice."""

import zlib
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.bench.loads import TAG, TENANT_TAG, Load, Template, tag_of, template_of
from tests.unit.wire.bodies import to_json

FORMATS = ("protobuf", "one resource", "prefixed", "json lines")
"""`protobuf`: requests one behind the other, which is one body; `one resource`: a body with one resource, in
which each scope has all its spans; `prefixed`: as the OpenTelemetry Collector's file exporter writes them."""


def recording(load: Load, form: str, requests: int) -> Iterator[bytes]:
    """A file of so many requests' spans."""
    template = template_of(load, seed=1)
    if form == "json lines":
        hexadecimal = _JsonTemplate(template)
        for number in range(requests):
            yield hexadecimal.request(number) + b"\n"
        return
    if form == "one resource":
        yield from _one_resource(template.body, requests)
        return
    prefix = len(template.body).to_bytes(4, "big") if form == "prefixed" else b""
    for number in range(requests):
        yield prefix + template.request(number)


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _one_resource(body: bytes, requests: int) -> Iterator[bytes]:
    [resource_spans] = ExportTraceServiceRequest.FromString(body).resource_spans
    scopes = [
        (
            _field(1, scope_spans.scope.SerializeToString()),
            Template(b"".join(_field(2, span.SerializeToString()) for span in scope_spans.spans)),
        )
        for scope_spans in resource_spans.scope_spans
    ]
    sizes = [len(scope) + requests * len(spans.body) for scope, spans in scopes]
    resource = _field(1, resource_spans.resource.SerializeToString())
    yield _head(1, len(resource) + sum(len(_head(2, size)) + size for size in sizes)) + resource
    for (scope, spans), size in zip(scopes, sizes, strict=True):
        yield _head(2, size) + scope
        for number in range(requests):
            yield spans.request(number)


def _head(number: int, length: int) -> bytes:
    head = bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*head, length])


def _field(number: int, contents: bytes) -> bytes:
    return _head(number, len(contents)) + contents


class _JsonTemplate:
    """As `Template`, but that time stands still; ids are in hexadecimal here, and so is their tag."""

    def __init__(self, template: Template) -> None:
        text = to_json(ExportTraceServiceRequest.FromString(template.timed(0)))
        self._groups = template.groups
        self._parts = [[part.split(TAG) for part in one.split(TAG.hex().encode())] for one in text.split(TENANT_TAG)]

    def request(self, number: int) -> bytes:
        tag, group = tag_of(number), tag_of(number % self._groups)
        return group.join(tag.hex().encode().join(tag.join(part) for part in one) for one in self._parts)
