"""OTLP over gRPC: opentelemetry.proto.collector.trace.v1.TraceService/Export.

Source of the codes: OTLP specification 1.10, "Failures" and "OTLP/gRPC Throttling": INVALID_ARGUMENT is permanent;
UNAVAILABLE with RetryInfo asks to send again.
"""

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import grpc

from spanmeter.errors import MalformedError, StoreError
from spanmeter.receiver.reception import COMMIT_TIMEOUT_S, RETRY_AFTER_S, Reception
from spanmeter.settings import ListenAddress
from spanmeter.wire.body import Encoding
from spanmeter.wire.protobuf import decode_protobuf
from spanmeter.wire.reply import export_reply, status_reply

log = logging.getLogger("spanmeter.grpc")

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
THREADS = 32
"""Requests in flight: each waits in its thread for the group commit."""


class GrpcReceiver:
    """The gRPC server. `start` returns the port that it listens on."""

    def __init__(self, address: ListenAddress, reception: Reception) -> None:
        self._address = address
        self._reception = reception
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spanmeter-grpc")
        limit = reception.max_body_bytes
        self._server = grpc.server(
            self._pool,
            options=[("grpc.max_receive_message_length", limit), ("grpc.so_reuseport", 0)],
        )
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)  # bodies stay bytes: no deserializer
        )

    def start(self) -> int:
        """Listen and serve. Raises OSError where the address cannot be had."""
        try:
            port = self._server.add_insecure_port(str(self._address))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        self._server.start()
        return port

    def stop(self, grace_s: float) -> None:
        """Refuse new requests at once, answer those in flight, within `grace_s` seconds."""
        self._server.stop(grace_s).wait(grace_s + 1.0)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            request = decode_protobuf(body, self._reception.vocabulary)
            accepted = self._reception.accept(request)
            accepted.done.result(COMMIT_TIMEOUT_S)
        except MalformedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        except (StoreError, FutureTimeoutError) as error:
            self._again(context, str(error) or "the journal did not answer in time")
        except Exception:
            log.exception("request failed")
            self._again(context, "internal error")
        return export_reply(Encoding.PROTOBUF, rejected=accepted.rejected, message=accepted.message)

    def _again(self, context: grpc.ServicerContext, message: str) -> None:
        status = status_reply(
            Encoding.PROTOBUF,
            code=grpc.StatusCode.UNAVAILABLE.value[0],
            message=message,
            retry_after_s=math.ceil(RETRY_AFTER_S),
        )
        context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(grpc.StatusCode.UNAVAILABLE, message)
