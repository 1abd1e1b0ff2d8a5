"""The reference: receives like spanmeter, parses each request with OpenTelemetry's own classes, and acknowledges it.

`python -m tests.bench.parse_only GRPC_PORT HTTP_PORT`.
"""

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_MOST_BYTES = 64 * 2**20


def _export(body: bytes, context: grpc.ServicerContext) -> bytes:
    ExportTraceServiceRequest.FromString(body)
    return b""


async def _app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    body = b"".join(parts)
    if dict(scope["headers"]).get(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
    ExportTraceServiceRequest.FromString(body)
    headers = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    grpc_port, http_port = map(int, sys.argv[1:])
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", _MOST_BYTES)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    config = uvicorn.Config(
        _app, host="127.0.0.1", port=http_port, log_config=None, access_log=False, lifespan="off", ws="none"
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
