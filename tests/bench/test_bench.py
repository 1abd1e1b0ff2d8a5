"""The loads of the bench are what they say."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanmeter.usage.recognition import Recogniser
from tests.bench.loads import REQUESTS_A_TICK, Load, template_of
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


def test_time_goes_on_with_the_requests() -> None:
    template = template_of(Load(name="", spans=8_192), seed=1)
    ends = []
    for number in (0, 1, REQUESTS_A_TICK, 900 * REQUESTS_A_TICK):
        spans = decode_protobuf(template.request(number), RECOGNISER.vocabulary()).spans
        assert all(0 < span.end_ns - span.start_ns < 4 * 10**9 for span in spans)
        ends.append([span.end_ns for span in spans])
    first, same, next_, later = ends
    assert first == same and [(a + 2**32) for a in first] == next_
    assert 3_600 < (later[0] - first[0]) / 1e9 < 4_000
    assert 1_767_225_590 < min(first) / 1e9 < 1_767_225_600


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


def test_as_many_tenants_as_were_asked_for() -> None:
    for tenants in (1, 50, 2_000):
        template = template_of(Load(name="", spans=2_000, tenants=tenants), seed=1)
        found = set()
        for number in range(8):
            request = decode_protobuf(template.request(number), RECOGNISER.vocabulary())
            found |= {one.tenant for one in RECOGNISER.pack(request.spans, received_ns=1)[0]}
        assert 0.95 * tenants <= len(found) <= tenants
