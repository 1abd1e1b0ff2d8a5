"""The bench measures: its loads are what they say, and one of its rows comes to figures."""

import subprocess
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanmeter.usage.recognition import Recogniser
from tests.bench.loads import Load, template_of
from tests.bench.servers import ROOT
from tests.unit.wire.bodies import decode_protobuf

RECOGNISER = Recogniser(tenant_attributes=("tenant.id",))


def test_no_span_and_no_response_is_sent_twice() -> None:
    template = template_of(Load(name="", spans=50), seed=1)
    spans, responses = set(), set()
    for number in range(5):
        request = decode_protobuf(template.request(number), RECOGNISER.vocabulary())
        facts, others = RECOGNISER.pack(request.spans, received_ns=1)
        assert not others and all(one.tenant for one in facts)
        spans |= {(one.trace_id, one.span_id) for one in facts}
        responses |= {one.call.response_id for one in facts if one.call is not None}
    assert len(spans) == len(responses) == 250


def test_the_mix_has_five_percent_of_calls_whose_parents_are_sent_too() -> None:
    body = template_of(Load(name="", spans=400, is_mix=True), seed=1).request(1)
    message = ExportTraceServiceRequest.FromString(body)
    spans = [span for scope in message.resource_spans[0].scope_spans for span in scope.spans]
    assert {span.parent_span_id for span in spans} - {b""} <= {span.span_id for span in spans}
    decoded = decode_protobuf(body, RECOGNISER.vocabulary())
    assert (len(decoded.spans), decoded.span_count) == (20, 400)


def test_texts_have_the_size_that_was_asked_for() -> None:
    for text_bytes in (4096, 65536):
        body = template_of(Load(name="", spans=3, text_bytes=text_bytes), seed=1).request(1)
        assert 0.9 < len(body) / 3 / text_bytes < 1.3


def test_a_row() -> None:
    command = [sys.executable, "-m", "tests.bench", "--alone", "--only", "5 % LLM", "--seconds", "0.2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    head, row = ended.stdout.splitlines()
    assert "spans/CPU s" in head
    assert row.startswith("5 % LLM, 512 × 8 grpc") and "errors" not in row
    assert int(row.split("to the ack")[1].split()[0].replace(",", "")) > 1_000
