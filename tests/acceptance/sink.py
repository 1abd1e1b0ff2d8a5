"""The smallest OTLP receiver, gRPC and HTTP: stands where spanmeter or a backend would, and remembers span names."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received:
    """The names of the spans that arrived, in order. Safe to read while more arrive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: list[str] = []

    @property
    def names(self) -> list[str]:
        with self._lock:
            return list(self._names)

    def add(self, request: ExportTraceServiceRequest) -> None:
        found = [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        with self._lock:
            self._names.extend(found)


@contextmanager
def running_grpc_sink(port: int) -> Iterator[Received]:
    """Takes every OTLP trace request on 127.0.0.1:`port` until the block ends."""
    received = Received()

    def export(request: ExportTraceServiceRequest, _: grpc.ServicerContext) -> ExportTraceServiceResponse:
        received.add(request)
        return ExportTraceServiceResponse()

    method = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool, options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield received
        finally:
            server.stop(1).wait()


@contextmanager
def running_http_sink(port: int) -> Iterator[Received]:
    """Takes every protobuf request on http://127.0.0.1:`port`/v1/traces until the block ends."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                received.add(ExportTraceServiceRequest.FromString(body))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
