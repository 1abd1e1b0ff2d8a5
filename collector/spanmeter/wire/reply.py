"""OTLP's answers as bytes, in the encoding of the request.

Source: opentelemetry-proto collector/trace/v1/trace_service.proto; OTLP specification, "Partial Success", "Failures".
"""

from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from msgspec.json import encode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanmeter.wire.body import Encoding

_NS = 1_000_000_000


def export_reply(encoding: Encoding, *, rejected: int = 0, message: str = "") -> bytes:
    """The answer to a request that was taken. partial_success is left unset where there is nothing to say in it.

    `rejected` spans must not be sent again; a `message` with none rejected is a warning.
    """
    match encoding:
        case Encoding.PROTOBUF:
            response = ExportTraceServiceResponse()
            if rejected or message:
                response.partial_success.rejected_spans = rejected
                response.partial_success.error_message = message
            return response.SerializeToString()
        case Encoding.JSON:
            partial: dict[str, str] = {}
            if rejected:
                partial["rejectedSpans"] = str(rejected)  # int64 is a string in protobuf's JSON
            if message:
                partial["errorMessage"] = message
            return encode({"partialSuccess": partial} if partial else {})


def status_reply(encoding: Encoding, *, code: int, message: str, retry_after_s: float | None = None) -> bytes:
    """A google.rpc.Status. `code` is a gRPC status number; `retry_after_s` adds a RetryInfo, in protobuf only:
    in JSON the Retry-After header says it.
    """
    match encoding:
        case Encoding.PROTOBUF:
            status = Status(code=code, message=message)
            if retry_after_s is not None:
                retry = RetryInfo()
                retry.retry_delay.FromNanoseconds(round(retry_after_s * _NS))
                status.details.add().Pack(retry)
            serialised: bytes = status.SerializeToString()
            return serialised
        case Encoding.JSON:
            return encode({"code": code, "message": message})
