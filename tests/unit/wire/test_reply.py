import json

import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanmeter.wire.body import Encoding
from spanmeter.wire.reply import export_reply, status_reply


def test_full_success_says_nothing() -> None:
    assert export_reply(Encoding.PROTOBUF) == b""
    assert export_reply(Encoding.JSON) == b"{}"


def test_partial_success() -> None:
    response = ExportTraceServiceResponse.FromString(export_reply(Encoding.PROTOBUF, rejected=2, message="why"))
    assert response.HasField("partial_success")
    assert (response.partial_success.rejected_spans, response.partial_success.error_message) == (2, "why")
    assert json.loads(export_reply(Encoding.JSON, rejected=2, message="why")) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "why"}
    }


def test_a_warning_rejects_nothing() -> None:
    response = ExportTraceServiceResponse.FromString(export_reply(Encoding.PROTOBUF, message="old"))
    assert (response.partial_success.rejected_spans, response.partial_success.error_message) == (0, "old")
    assert export_reply(Encoding.JSON, message="old") == b'{"partialSuccess":{"errorMessage":"old"}}'


@pytest.mark.parametrize(("retry_after_s", "seconds", "nanos"), [(0, 0, 0), (1.5, 1, 500_000_000), (30, 30, 0)])
def test_status_with_retry_info(retry_after_s: float, seconds: int, nanos: int) -> None:
    status = Status.FromString(status_reply(Encoding.PROTOBUF, code=14, message="busy", retry_after_s=retry_after_s))
    assert (status.code, status.message) == (14, "busy")
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (seconds, nanos)


def test_status_without_retry_info() -> None:
    assert not Status.FromString(status_reply(Encoding.PROTOBUF, code=3, message="bad")).details
    assert json.loads(status_reply(Encoding.JSON, code=3, message="bad", retry_after_s=1)) == {
        "code": 3,
        "message": "bad",
    }
