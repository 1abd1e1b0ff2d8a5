"""Collectors that others wrote, run as the acceptance tests run them, between the SDK's exporters and an OTLP sink.

What they show of otel-config.yaml: both destinations get every span, and a kill -9 while spanmeter is away loses none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from tests.acceptance.child import eventually, free_port
from tests.acceptance.otelcol import require_otelcol, running_otelcol
from tests.acceptance.rotel import require_rotel, running_rotel
from tests.acceptance.sink import running_grpc_sink, running_http_sink

ARRIVAL_TIMEOUT_S = 20.0


def send_over_grpc(port: int, names: Sequence[str]) -> None:
    send(GrpcExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True), names)


def send_over_http(port: int, names: Sequence[str]) -> None:
    send(HttpExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces"), names)


def send(exporter: SpanExporter, names: Sequence[str]) -> None:
    """One request a span, each answered before the next."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for name in names:
        provider.get_tracer("tests").start_span(name).end()
    provider.shutdown()


def test_otelcol_copies_every_span_to_spanmeter_and_to_the_backend(tmp_path: Path) -> None:
    require_otelcol()
    metering_port, backend_port = free_port(), free_port()
    sent = [f"span {i}" for i in range(6)]
    with (
        running_grpc_sink(metering_port) as metering,
        running_grpc_sink(backend_port) as backend,
        running_otelcol(tmp_path, metering_port=metering_port, backend_port=backend_port) as collector,
    ):
        send_over_grpc(collector.grpc_port, sent[:3])
        send_over_http(collector.http_port, sent[3:])
        eventually(lambda: len(metering.names) >= 6 and len(backend.names) >= 6, timeout_s=ARRIVAL_TIMEOUT_S)
        assert sorted(metering.names) == sent
        assert sorted(backend.names) == sent


def test_otelcol_killed_while_spanmeter_is_away_delivers_after_its_restart(tmp_path: Path) -> None:
    require_otelcol()
    metering_port, backend_port = free_port(), free_port()
    sent = [f"span {i}" for i in range(10)]
    with running_otelcol(tmp_path, metering_port=metering_port, backend_port=backend_port) as collector:
        send_over_grpc(collector.grpc_port, sent)  # taken, while nobody listens at either destination
        collector.child.kill()
    with (
        running_grpc_sink(metering_port) as metering,
        running_otelcol(tmp_path, metering_port=metering_port, backend_port=backend_port),
    ):
        eventually(lambda: set(metering.names) >= set(sent), timeout_s=ARRIVAL_TIMEOUT_S)
        assert set(metering.names) == set(sent)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_rotel_passes_on_what_arrives_by_either_protocol(tmp_path: Path, protocol: Literal["grpc", "http"]) -> None:
    require_rotel()
    port = free_port()
    sent = [f"span {i}" for i in range(6)]
    running_sink = running_grpc_sink if protocol == "grpc" else running_http_sink
    with (
        running_sink(port) as sink,
        running_rotel(tmp_path, export_endpoint=f"http://127.0.0.1:{port}", protocol=protocol) as rotel,
    ):
        send_over_grpc(rotel.grpc_port, sent[:3])
        send_over_http(rotel.http_port, sent[3:])
        eventually(lambda: len(sink.names) >= 6, timeout_s=ARRIVAL_TIMEOUT_S)
        assert sorted(sink.names) == sent
