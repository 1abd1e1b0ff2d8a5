"""The plug-in in programs of the frameworks that people use: billed = the provider's truth, for each of three tenants.

The programs are in `frameworks/` and run in a virtual environment that `frameworks/build` makes; the openai client's
also runs in this one, under openai-v2. Nothing of them is exported: their sampler drops every span.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from spanmeter.demo.provider import LocalProvider
from spanmeter.demo.stage import clean_environment
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.anthropic_provider import TENANT_HEADER, running_anthropic
from tests.acceptance.child import free_port
from tests.acceptance.collector import SHORT_TIMES, running_service

PROGRAMS = Path(__file__).with_name("frameworks")
TENANTS = ("acme", "globex", "initech")
TIMEOUT_S = 90.0

LITELLM = {
    # Else it writes its counts onto whatever span is active, several calls onto the same, or onto one that has ended.
    "USE_OTEL_LITELLM_REQUEST_SPAN": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}

Bill = Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def frameworks() -> Path:
    """The bin folder of the frameworks' virtual environment."""
    made_of = (PROGRAMS / "requirements.txt").read_bytes() + (PROGRAMS.parents[2] / "pyproject.toml").read_bytes()
    key = hashlib.sha256(made_of + f"{sys.version_info[0], sys.version_info[1]}\n".encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = Path(os.environ.get("SPANMETER_TEST_FRAMEWORKS") or cache / "spanmeter-tests" / f"frameworks-{key}")
    if not (place / "complete").exists():
        pytest.skip(f"no LLM frameworks in {place}: bash tests/acceptance/frameworks/build")
    return place / "bin"


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def environment(folder: Path, provider_url: str, service: MeteringService, **more: str) -> dict[str, str]:
    return {
        **clean_environment(os.environ),
        **SHORT_TIMES,
        "SPANMETER_DATA_DIR": str(folder),
        "SPANMETER_ENDPOINT": service.url,
        "OPENAI_BASE_URL": provider_url,
        "OPENAI_API_KEY": "none",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **more,
    }


def run(bin_folder: Path, program: str, environ: Mapping[str, str], *arguments: str) -> None:
    """Nothing is exported."""
    assert "span_id" not in _run(bin_folder, program, environ, *arguments).stdout


def _run(
    bin_folder: Path, program: str, environ: Mapping[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [bin_folder / "opentelemetry-instrument", bin_folder / "python", PROGRAMS / program, *arguments],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def billed(service: MeteringService) -> Bill:
    bill: Bill = Counter()
    for event in service.events:
        bill[event["subject"], event["data"]["type"]] += event["data"]["tokens"]
    return bill


def truth(provider: LocalProvider) -> Bill:
    bill: Bill = Counter()
    for call in provider.calls:
        bill[call.tenant or "", "input"] += call.input_tokens
        bill[call.tenant or "", "output"] += call.output_tokens
    return +bill


def assert_billed(provider: LocalProvider, service: MeteringService) -> None:
    assert {call.tenant for call in provider.calls} == set(TENANTS)
    assert billed(service) == truth(provider)
    assert service.duplicates == 0


def test_the_openai_client_under_openai_v2(tmp_path: Path, provider: LocalProvider, service: MeteringService) -> None:
    """Without the Responses API, which openai-v2 does not trace."""
    run(Path(sys.executable).parent, "openai_client.py", environment(tmp_path, provider.url, service))
    assert_billed(provider, service)


def test_streams_under_genai_openai(frameworks: Path) -> None:
    """Those of tests/integration/test_stream_usage.py, which here has only openai-v2 to run under."""
    root = PROGRAMS.parents[2]
    done = subprocess.run(
        [frameworks / "python", "-m", "pytest", "-q", "-k", "genai-openai", "tests/integration/test_stream_usage.py"],
        cwd=root,
        env=clean_environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    "program",
    ["openai_client.py", "langgraph_agent.py", "litellm_calls.py", "pydantic_ai_agent.py", "openai_agents.py"],
)
def test_frameworks(
    tmp_path: Path, frameworks: Path, provider: LocalProvider, service: MeteringService, program: str
) -> None:
    environ = environment(tmp_path, provider.url, service, **LITELLM)
    run(frameworks, program, environ, "responses")
    assert_billed(provider, service)


def test_own_requests_are_not_traced(
    tmp_path: Path, frameworks: Path, provider: LocalProvider, service: MeteringService
) -> None:
    """With httpx, which both the agent and spanmeter use, instrumented, and every span exported."""
    environ = environment(tmp_path, provider.url, service, OTEL_TRACES_SAMPLER="always_on")
    done = _run(frameworks, "own_requests.py", environ)
    exported = [line for line in done.stdout.splitlines() if '"http.url"' in line or '"url.full"' in line]
    assert len(exported) == 1, exported
    assert "/there" in exported[0]
    assert billed(service) == {("acme", "output"): 7}


def test_the_declarative_configuration(tmp_path: Path, frameworks: Path, service: MeteringService) -> None:
    environ = environment(
        tmp_path, "http://127.0.0.1:9", service, OTEL_CONFIG_FILE=str(PROGRAMS / "otel.yaml"), OTEL_TRACES_SAMPLER=""
    )
    run(frameworks, "declarative.py", environ)
    assert billed(service) == {("acme", "output"): 7}


def test_children_of_billiard(tmp_path: Path, frameworks: Path, service: MeteringService) -> None:
    """Celery's processes: they end by os._exit, after finalisers of their own."""
    environ = environment(tmp_path, "http://127.0.0.1:9", service, SPANMETER_FLUSH_MS="60000")
    run(frameworks, "billiard_children.py", environ)
    subprocess.run(
        [sys.executable, "-m", "spanmeter", "deliver", "--until-empty"], env=environ, check=True, timeout=TIMEOUT_S
    )
    assert billed(service) == {("acme", "output"): 4}


def test_anthropic(tmp_path: Path, frameworks: Path, service: MeteringService) -> None:
    with running_anthropic() as provider:
        run(
            frameworks,
            "anthropic_client.py",
            environment(tmp_path, "http://127.0.0.1:9", service, ANTHROPIC_BASE_URL=provider.url),
        )
        assert {tenant for tenant, _ in provider.truth} == set(TENANTS)
        assert billed(service) == provider.truth


@pytest.mark.parametrize(
    "server",
    [
        ["gunicorn", "--workers", "4", "--threads", "2", "--bind", "127.0.0.1:{port}", "web:wsgi_app"],
        ["gunicorn", "--workers", "2", "-k", "gevent", "--bind", "127.0.0.1:{port}", "web:wsgi_app"],
        ["gunicorn", "--workers", "2", "--preload", "--bind", "127.0.0.1:{port}", "web:wsgi_app"],
        ["uvicorn", "--factory", "--loop", "uvloop", "--port", "{port}", "web:fastapi_app"],
    ],
    ids=["gunicorn, 4 workers", "gunicorn with gevent", "gunicorn, preloaded", "FastAPI on uvloop"],
)
def test_servers(
    tmp_path: Path, frameworks: Path, provider: LocalProvider, service: MeteringService, server: list[str]
) -> None:
    """Requests of three tenants at once; what the workers leave on disk is sent by `spanmeter deliver`."""
    port = free_port()
    environ = environment(tmp_path, provider.url, service, PYTHONPATH=str(PROGRAMS))
    command = [part.format(port=port) for part in server]
    with subprocess.Popen(
        [frameworks / "opentelemetry-instrument", frameworks / command[0], *command[1:]],
        env=environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as running:
        try:
            _ask(f"http://127.0.0.1:{port}/ask", running)
        finally:
            running.send_signal(signal.SIGTERM)
            _, said = running.communicate(timeout=TIMEOUT_S)
    # OpenTelemetry's own thread complains of a fork under gevent.
    assert "spanmeter_instrumentation" not in said, said[-3000:]
    subprocess.run(
        [sys.executable, "-m", "spanmeter", "deliver", "--until-empty"], env=environ, check=True, timeout=TIMEOUT_S
    )
    assert len(provider.calls) == 60
    assert_billed(provider, service)


def _ask(url: str, running: "subprocess.Popen[str]") -> None:
    def of(tenant: str) -> None:
        with httpx.Client(timeout=30.0) as client:
            for _ in range(20):
                client.post(url, headers={TENANT_HEADER: tenant}).raise_for_status()

    address, until_s = ("127.0.0.1", int(url.split(":")[2].partition("/")[0])), time.monotonic() + TIMEOUT_S
    while True:  # until it listens
        try:
            socket.create_connection(address).close()
            break
        except ConnectionRefusedError:
            assert running.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.05)
    threads = [threading.Thread(target=of, args=(tenant,)) for tenant in TENANTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
