"""What no sender should send, to one running collector: each is refused in OTLP's words, and the collector lives.

After each test the same process is healthy, and a good request to it is billed.
"""

import gzip
import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status as RpcStatus  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.acceptance.collector import (
    outcomes_of,
    run_spanmeter,
    running_collector,
    running_service,
    settled,
)
from tests.acceptance.requests import (
    JSON,
    PROTOBUF,
    TENANT,
    call_attributes,
    call_request,
    call_span,
    new_response_id,
    request_of,
)
from tests.acceptance.target import Target

MIB = 1024 * 1024
LIMIT_BYTES = 64 * MIB  # SPANMETER_MAX_BODY_BYTES
BOMB_BYTES = 1024 * MIB
INVALID_ARGUMENT = 3


@pytest.fixture(scope="module")
def running_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data_dir = tmp_path_factory.mktemp("bad-input") / "data"
    settings = {"SPANMETER_TRACE_QUIET_S": "0.05", "SPANMETER_BATCH_INTERVAL_S": "0.02"}
    with running_service() as service, running_collector(data_dir, service=service, settings=settings) as collector:
        yield Target(collector=collector, service=service)


@pytest.fixture
def target(running_target: Target) -> Iterator[Target]:
    """The collector; after the test it is the same process still, and it bills."""
    yield running_target
    assert running_target.collector.child.process.poll() is None
    assert running_target.collector.is_healthy()
    response_id = new_response_id()
    answer = running_target.post(call_request(response_id).SerializeToString())
    assert (answer.status_code, answer.content) == (200, b"")
    assert running_target.is_billed(response_id)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """1 GiB of zeros in 1 MB: many members, each quickly made."""
    member = gzip.compress(bytes(16 * MIB))
    return member * (BOMB_BYTES // (16 * MIB))


def good_body() -> bytes:
    return call_request(new_response_id()).SerializeToString()


def message_of(answer: httpx.Response) -> str:
    """Of a google.rpc.Status in the encoding that the answer names."""
    if answer.headers["content-type"] == JSON:
        status: dict[str, Any] = answer.json()
        assert status["code"] == INVALID_ARGUMENT
        return str(status["message"])
    assert answer.headers["content-type"] == PROTOBUF
    parsed = RpcStatus.FromString(answer.content)
    assert parsed.code == INVALID_ARGUMENT
    return str(parsed.message)


def test_truncated_protobuf(target: Target) -> None:
    body = good_body()
    answer = target.post(body[:-9])
    assert answer.status_code == 400
    assert "byte" in message_of(answer)
    assert target.refusal(body[:-9]) == (grpc.StatusCode.INVALID_ARGUMENT, message_of(answer))


def test_truncated_and_corrupt_gzip(target: Target) -> None:
    body = gzip.compress(good_body())
    for broken in (body[:-9], body[:20] + b"\xff\xff\xff" + body[23:], b"not gzip at all"):
        answer = target.post(broken, content_encoding="gzip")
        assert answer.status_code == 400
        assert "compressed body" in message_of(answer)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
def test_wrong_content_type(target: Target, content_type: str) -> None:
    answer = target.post(good_body(), content_type)
    assert answer.status_code == 415
    assert PROTOBUF in answer.text
    assert JSON in answer.text


def test_wrong_content_encoding(target: Target) -> None:
    answer = target.post(good_body(), content_encoding="br")
    assert answer.status_code == 415
    assert "gzip" in message_of(answer)


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_a_gzip_bomb_over_http_is_refused_in_bounded_memory(target: Target, bomb: bytes, content_type: str) -> None:
    with target.growing_by_less_than(3 * LIMIT_BYTES):
        answer = target.post(bomb, content_type, content_encoding="gzip")
    assert answer.status_code == 413
    assert str(LIMIT_BYTES) in message_of(answer)


def test_a_gzip_bomb_over_grpc_is_refused_in_bounded_memory(target: Target) -> None:
    with target.growing_by_less_than(3 * LIMIT_BYTES):
        code, _ = target.refusal(bytes(256 * MIB), compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_body_of_100_mb(target: Target) -> None:
    with target.growing_by_less_than(LIMIT_BYTES // 4):  # its length tells beforehand: it is never read
        answer = target.post(bytes(100_000_000))
    assert answer.status_code == 413
    assert str(LIMIT_BYTES) in message_of(answer)


def test_a_body_of_100_mb_in_chunks(target: Target) -> None:
    with (
        target.growing_by_less_than(3 * LIMIT_BYTES),
        closing(http.client.HTTPConnection("127.0.0.1", target.collector.http_port, timeout=60)) as connection,
    ):
        pieces = itertools.repeat(bytes(MIB), 100)
        with suppress(OSError):  # refused before all of it was sent
            connection.request("POST", "/v1/traces", pieces, {"content-type": PROTOBUF}, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_a_body_of_100_mb_over_grpc(target: Target) -> None:
    with target.growing_by_less_than(3 * LIMIT_BYTES):
        code, words = target.refusal(bytes(100_000_000))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(LIMIT_BYTES) in words


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"resourceSpans": "none"}', "$.resourceSpans"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": {}}]}]}', "$.resourceSpans[0].scopeSpans[0].spans"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": []}]}]}]}', "spans[0].name"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}', "startTimeUnixNano"),
        ("[]", "Expected `object`, got `array`"),
    ],
)
def test_json_with_wrong_types(target: Target, body: str, path: str) -> None:
    answer = target.post(body.encode(), JSON)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == JSON
    assert path in message_of(answer)


@pytest.mark.parametrize("body", [b"", b"{", b"not json", b'{"resourceSpans": [}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none(target: Target, body: bytes) -> None:
    answer = target.post(body, JSON)
    assert answer.status_code == 400
    assert message_of(answer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gen_ai.usage.input_tokens", -1),
        ("gen_ai.usage.output_tokens", 2**62),
        ("gen_ai.usage.input_tokens", "many"),
        ("gen_ai.usage.output_tokens", "1e99"),
    ],
)
def test_counts_that_cannot_be_believed(target: Target, name: str, value: int | str) -> None:
    data_dir = target.collector.data_dir
    response_id, other_id = new_response_id(), new_response_id()
    before = settled(data_dir, llm_spans=0)
    bad = call_span({**call_attributes(response_id), name: value})
    answer = target.post(request_of([bad, call_span(call_attributes(other_id))]).SerializeToString())
    assert (answer.status_code, answer.content) == (200, b"")
    assert target.is_billed(other_id)
    after = settled(data_dir, llm_spans=before.received.llm_spans + 2)
    assert after.balanced
    assert outcomes_of(after)["invalid"] == outcomes_of(before).get("invalid", 0) + 1
    assert outcomes_of(after)["billed"] == outcomes_of(before).get("billed", 0) + 1
    assert not any(event["id"].startswith(response_id) for event in target.service.events)


def test_status_shows_what_was_invalid(target: Target) -> None:
    target.post(request_of([call_span(call_attributes(new_response_id(), input_tokens=-5))]).SerializeToString())
    settled(target.collector.data_dir, llm_spans=1)
    status = json.loads(run_spanmeter("status", "--json", data_dir=target.collector.data_dir).stdout)
    rows = {(row["outcome"], row["reason"]): row for row in status["outcomes"]}
    assert rows["invalid", "unbelievable counts"]["spans"] >= 1
    assert status["balanced"] is True


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [(b"\1" * 15, None), (b"\1" * 17, None), (None, b"\1" * 7), (None, b""), (bytes(16), None), (None, bytes(8))],
    ids=["trace-15", "trace-17", "span-7", "span-0", "trace-zero", "span-zero"],
)
def test_ids_of_a_wrong_length(target: Target, trace_id: bytes | None, span_id: bytes | None) -> None:
    good_id = new_response_id()
    bad = call_span(call_attributes(new_response_id()), trace_id=trace_id, span_id=span_id)
    body = request_of([bad, call_span(call_attributes(good_id))]).SerializeToString()
    answer = target.post(body)
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "span_id" in partial.error_message or "trace_id" in partial.error_message
    assert target.is_billed(good_id)
    # gRPC says the same; the good span has come twice then, and is billed once.
    again = ExportTraceServiceResponse.FromString(target.export(body)).partial_success
    assert again == partial


def test_json_ids_that_are_not_hexadecimal(target: Target) -> None:
    good_id = new_response_id()
    attributes = [
        {"key": key, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
        for key, value in call_attributes(good_id).items()
    ]
    good = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "attributes": attributes}
    spans = [good, {**good, "spanId": "not hexadecimal!"}, {**good, "traceId": "0af7"}]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    answer = target.post(body.encode(), JSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "2"
    assert target.is_billed(good_id)
    assert {event["subject"] for event in target.service.events if good_id in event["id"]} == {TENANT}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/traces", 405),
        ("PUT", "/v1/traces", 405),
        ("POST", "/v1/metrics", 404),
        ("POST", "/", 404),
        ("GET", "/nothing", 404),
    ],
)
def test_wrong_method_or_path(target: Target, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{target.collector.http_url}{path}", trust_env=False)
    assert answer.status_code == status
    assert answer.text.strip()


def test_what_is_no_http_and_no_grpc(target: Target) -> None:
    for port in (target.collector.http_port, target.collector.grpc_port):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
            connection.sendall(b"\x16\x03\x01 this is neither\r\n\r\n" * 100)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
