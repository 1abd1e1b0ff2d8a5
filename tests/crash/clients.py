"""Clients of the collector: raw ones that know exactly what was acknowledged, and OpenTelemetry's own exporters."""

import http.client
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from tests.acceptance.requests import MODEL, PROTOBUF, Value, call_span, new_response_id, request_of
from tests.crash.records import CALL_ATTRIBUTE, Call, Records

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SEND_TIMEOUT_S = 10.0
AGAIN_AFTER_S = 0.03
PAUSE_S = 0.004
"""Between two calls of a client: some hundred a second together, so that the machine is loaded and not drowned."""
MOST_UNACKNOWLEDGED = 500
"""Of an application: its queue to the exporter never overflows, which would lose spans before they are sent."""


class Client(Protocol):
    """Sends calls from a thread of its own until `stop`, which returns when nothing is under way any more."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Way(Protocol):
    """How a body is sent; for one thread."""

    def send(self, body: bytes) -> bool:
        """Whether it was acknowledged. Raises OSError or HTTPException where nobody knows."""
        ...

    def close(self) -> None: ...


class RawClient:
    """One call a request, the next when the last was answered.

    With `patient` it sends the same request until it is acknowledged; otherwise it forgets it and goes on: such a call
    may be billed or not, but not twice.
    """

    def __init__(self, records: Records, way: Way, *, patient: bool) -> None:
        self._records = records
        self._way = way
        self._patient = patient
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raw-client", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive(), "a client could not deliver its last call"
        self._way.close()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            number += 1
            call = self._records.new_call()
            body = call_body(call, with_id=number % 3 > 0)
            while not self._try(body):
                if not self._patient:
                    break
                # Also after stop: what was begun is brought to its end. The thread is a daemon, `stop` bounds it.
                threading.Event().wait(AGAIN_AFTER_S)
            else:
                self._records.acknowledge([call.name])

    def _try(self, body: bytes) -> bool:
        try:
            return self._way.send(body)
        except (OSError, http.client.HTTPException):
            self._stop.wait(AGAIN_AFTER_S)
            return False


class Application:
    """An application under OpenTelemetry: a span for the request, which names the tenant, with the LLM call's inside;
    BatchSpanProcessor; a real exporter, which tries a batch again by itself, and is asked again when it has given up.
    """

    def __init__(self, records: Records, exporter: SpanExporter) -> None:
        self._records = records
        self._unacknowledged = threading.Semaphore(MOST_UNACKNOWLEDGED)
        self._stop = threading.Event()
        self._provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        self._exporter = _Persistent(exporter, self._acknowledged)
        self._provider.add_span_processor(
            BatchSpanProcessor(self._exporter, max_queue_size=4096, schedule_delay_millis=100, max_export_batch_size=64)
        )
        self._thread = threading.Thread(target=self._run, name="application", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10.0)
        self._provider.shutdown()

    def _acknowledged(self, spans: Sequence[ReadableSpan]) -> None:
        for _ in spans:
            self._unacknowledged.release()
        self._records.acknowledge([str((span.attributes or {})[CALL_ATTRIBUTE]) for span in spans])

    def _run(self) -> None:
        tracer = self._provider.get_tracer("tests.crash")
        number = 0
        while not self._stop.wait(PAUSE_S):
            for _ in range(2):
                while not self._unacknowledged.acquire(timeout=0.1):
                    if self._stop.is_set():
                        return
            number += 1
            call = self._records.new_call(spans=2)
            attributes = attributes_of(call, with_id=number % 3 > 0)
            root = {"tenant.id": attributes.pop("tenant.id"), CALL_ATTRIBUTE: call.name}
            with (
                tracer.start_as_current_span("POST /chat", attributes=root),
                tracer.start_as_current_span(f"chat {MODEL}", attributes=attributes),
            ):
                pass


class _Persistent(SpanExporter):
    """Asks the real exporter again until it has succeeded, as a queue on disk in front of it would."""

    def __init__(self, exporter: SpanExporter, acknowledged: Callable[[Sequence[ReadableSpan]], None]) -> None:
        self._exporter = exporter
        self._acknowledged = acknowledged
        self._ended = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        while not self._ended.is_set():
            if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                self._acknowledged(spans)
                return SpanExportResult.SUCCESS
            self._ended.wait(AGAIN_AFTER_S)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._ended.set()
        self._exporter.shutdown()


def attributes_of(call: Call, *, with_id: bool) -> dict[str, Value]:
    """The LLM span's attributes; without a response id the call is known by its span alone."""
    attributes: dict[str, Value] = {
        "tenant.id": call.tenant,
        CALL_ATTRIBUTE: call.name,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
    }
    return attributes | ({"gen_ai.response.id": new_response_id()} if with_id else {})


class HttpWay:
    """Over one kept connection to 127.0.0.1, opened anew after a failure."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SEND_TIMEOUT_S)

    def send(self, body: bytes) -> bool:
        try:
            self._connection.request("POST", "/v1/traces", body, {"content-type": PROTOBUF})
            answer = self._connection.getresponse()
            answer.read()
        except BaseException:
            self._connection.close()
            raise
        return answer.status == 200

    def close(self) -> None:
        self._connection.close()


class GrpcWay:
    """Over one channel to 127.0.0.1, which connects anew at once."""

    def __init__(self, port: int) -> None:
        options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(EXPORT)

    def send(self, body: bytes) -> bool:
        try:
            self._call(body, timeout=SEND_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return True

    def close(self) -> None:
        self._channel.close()


def call_body(call: Call, *, with_id: bool = True) -> bytes:
    """A request with this call alone, in a trace of its own."""
    return request_of([call_span(attributes_of(call, with_id=with_id))]).SerializeToString()


def all_clients(records: Records, *, grpc_port: int, http_port: int) -> list[Client]:
    """Every kind of client, at work on one collector."""
    return [
        RawClient(records, HttpWay(http_port), patient=True),
        RawClient(records, HttpWay(http_port), patient=False),
        RawClient(records, GrpcWay(grpc_port), patient=True),
        RawClient(records, GrpcWay(grpc_port), patient=False),
        Application(records, HttpExporter(endpoint=f"http://127.0.0.1:{http_port}/v1/traces", timeout=10)),
        Application(records, GrpcExporter(endpoint=f"http://127.0.0.1:{grpc_port}", insecure=True, timeout=10)),
    ]
