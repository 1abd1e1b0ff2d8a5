"""The main job: the real `openai` client's calls, billed to their tenants exactly as the provider reports them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.demo.provider import LocalProvider
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.agent import (
    CALLS,
    NO_EXPORTER,
    PLUGIN_OFF,
    exporting_to,
    plugin_settings,
    run_agent,
    run_plain_agent,
    truth_of,
)
from tests.acceptance.collector import (
    Collector,
    events_of,
    outcomes_of,
    running_collector,
    running_service,
    sent_to,
    settled,
    status_of,
)

NO_DISTRO = {"OTEL_PYTHON_DISTRO": "there-is-none", "OTEL_PYTHON_CONFIGURATOR": "there-is-none"}
OPENTELEMETRY_WORDS = "Configuration of configurator not loaded"


@pytest.fixture(scope="module")
def plain_run() -> subprocess.CompletedProcess[str]:
    """The agent without spanmeter, against a provider that answers the same."""
    with LocalProvider() as provider:
        run = run_plain_agent(provider)
        assert len(provider.calls) == CALLS
        return run


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def assert_unchanged(run: subprocess.CompletedProcess[str], plain: subprocess.CompletedProcess[str]) -> None:
    """spanmeter is a guest: what the program prints and how it ends are its own."""
    assert (run.returncode, run.stdout) == (plain.returncode, plain.stdout), run.stderr


def receiving(collector: Collector, protocol: str) -> dict[str, str]:
    return exporting_to(collector.grpc_url if protocol == "grpc" else collector.http_url, protocol)


@pytest.mark.parametrize("distro", [{}, NO_DISTRO], ids=["distro", "no-distro"])
def test_the_plugin_alone_bills_every_call(
    tmp_path: Path,
    provider: LocalProvider,
    service: MeteringService,
    plain_run: subprocess.CompletedProcess[str],
    distro: dict[str, str],
) -> None:
    run = run_agent(provider, {**NO_EXPORTER, **distro, **plugin_settings(tmp_path, endpoint=service.url)})
    assert_unchanged(run, plain_run)
    own_words = [line for line in run.stderr.splitlines() if not line.startswith(OPENTELEMETRY_WORDS)]
    assert own_words == []
    # The agent's process has ended: whatever it sent has arrived.
    assert len(truth_of(provider)) == 2 * CALLS
    assert events_of(service) == truth_of(provider)
    assert service.duplicates == 0
    status = status_of(tmp_path)
    assert status is not None
    assert status.balanced
    assert outcomes_of(status)["billed"] == CALLS


def test_the_plugin_never_loads_grpc(tmp_path: Path, provider: LocalProvider, service: MeteringService) -> None:
    run = run_agent(
        provider,
        {**NO_EXPORTER, **plugin_settings(tmp_path, endpoint=service.url)},
        interpreter_options=["-X", "importtime"],
    )
    # Every import until the very end, atexit included: "import time: self [us] | cumulative | name".
    loaded = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert {"openai", "httpx", "spanmeter_instrumentation.recorder", "spanmeter.openmeter.client"} <= loaded
    assert {name for name in loaded if name.partition(".")[0] in ("grpc", "uvicorn")} == set()
    assert events_of(service) == truth_of(provider)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_collector_bills_every_call(
    tmp_path: Path,
    provider: LocalProvider,
    service: MeteringService,
    plain_run: subprocess.CompletedProcess[str],
    protocol: str,
) -> None:
    data_dir = tmp_path / "collector"
    with running_collector(data_dir, service=service) as collector:
        run = run_agent(provider, {**PLUGIN_OFF, **receiving(collector, protocol)})
        assert_unchanged(run, plain_run)
        status = settled(data_dir, llm_spans=CALLS)
    assert events_of(service) == truth_of(provider)
    assert service.duplicates == 0
    assert status.balanced
    assert outcomes_of(status)["billed"] == CALLS


def test_both_ways_with_books_of_their_own_bill_once(
    tmp_path: Path, provider: LocalProvider, service: MeteringService, plain_run: subprocess.CompletedProcess[str]
) -> None:
    data_dir = tmp_path / "collector"
    with running_collector(data_dir, service=service) as collector:
        plugin = plugin_settings(tmp_path / "plug-in", endpoint=service.url)
        run = run_agent(provider, {**plugin, **receiving(collector, "grpc")})
        assert_unchanged(run, plain_run)
        settled(data_dir, llm_spans=CALLS)
    # Each sent everything, under the same source and ids: the service has it once.
    assert sent_to(service) == 2 * len(truth_of(provider))
    assert events_of(service) == truth_of(provider)


def test_both_ways_with_the_same_books_send_once(
    tmp_path: Path, provider: LocalProvider, service: MeteringService, plain_run: subprocess.CompletedProcess[str]
) -> None:
    data_dir = tmp_path / "shared"
    with running_collector(data_dir, service=service) as collector:
        plugin = plugin_settings(data_dir, endpoint=service.url)
        run = run_agent(provider, {**plugin, **receiving(collector, "http/protobuf")})
        assert_unchanged(run, plain_run)
        status = settled(data_dir, llm_spans=2 * CALLS)
    assert sent_to(service) == len(truth_of(provider))
    assert events_of(service) == truth_of(provider)
    assert status.balanced
    assert (outcomes_of(status)["billed"], outcomes_of(status)["duplicate"]) == (CALLS, CALLS)
