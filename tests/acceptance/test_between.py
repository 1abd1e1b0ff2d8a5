"""Agents that export to a collector that others wrote, which exports to spanmeter: billed exactly all the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from spanmeter.demo.provider import LocalProvider
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.agent import CALLS, PLUGIN_OFF, exporting_to, run_agent, truth_of
from tests.acceptance.child import eventually, free_port
from tests.acceptance.collector import (
    ARRIVAL_TIMEOUT_S,
    events_of,
    outcomes_of,
    running_collector,
    running_service,
    settled,
)
from tests.acceptance.otelcol import require_otelcol, running_otelcol
from tests.acceptance.rotel import require_rotel, running_rotel
from tests.acceptance.sink import running_grpc_sink


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def assert_billed_as_served(service: MeteringService, provider: LocalProvider, *, data_dir: Path) -> None:
    status = settled(data_dir, llm_spans=CALLS)
    assert events_of(service) == truth_of(provider)
    assert len(service.events) == 2 * CALLS
    assert service.duplicates == 0
    assert status.balanced
    assert outcomes_of(status)["billed"] == CALLS


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_rotel_between(
    tmp_path: Path, provider: LocalProvider, service: MeteringService, protocol: Literal["grpc", "http"]
) -> None:
    require_rotel()
    data_dir = tmp_path / "collector"
    with running_collector(data_dir, service=service) as collector:
        export_endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
        with running_rotel(tmp_path, export_endpoint=export_endpoint, protocol=protocol) as rotel:
            # In by one protocol, out by the other.
            to_rotel = (
                exporting_to(f"http://127.0.0.1:{rotel.http_port}", "http/protobuf")
                if protocol == "grpc"
                else exporting_to(f"http://127.0.0.1:{rotel.grpc_port}", "grpc")
            )
            run = run_agent(provider, {**PLUGIN_OFF, **to_rotel})
            assert run.returncode == 0, run.stderr
            assert_billed_as_served(service, provider, data_dir=data_dir)


def test_the_opentelemetry_collector_between(tmp_path: Path, provider: LocalProvider, service: MeteringService) -> None:
    require_otelcol()
    data_dir, backend_port = tmp_path / "collector", free_port()
    with (
        running_grpc_sink(backend_port) as backend,
        running_collector(data_dir, service=service) as collector,
        running_otelcol(tmp_path, metering_port=collector.grpc_port, backend_port=backend_port) as otelcol,
    ):
        run = run_agent(provider, {**PLUGIN_OFF, **exporting_to(f"http://127.0.0.1:{otelcol.grpc_port}", "grpc")})
        assert run.returncode == 0, run.stderr
        assert_billed_as_served(service, provider, data_dir=data_dir)
        # And traces go on to where they went before: each call and the two spans of the application.
        assert eventually(lambda: len(backend.names) >= CALLS + 2, timeout_s=ARRIVAL_TIMEOUT_S), backend.names
        assert len(backend.names) == CALLS + 2
