"""The demonstration's agent, the real `openai` client in it, under `opentelemetry-instrument`."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from spanmeter.demo.provider import LocalProvider
from spanmeter.demo.stage import clean_environment
from tests.acceptance.collector import SHORT_TIMES, Event

TENANTS = ("acme", "globex")
CALLS = 6
TIMEOUT_S = 60.0

PLUGIN_OFF: Mapping[str, str] = {"SPANMETER_ENABLED": "false"}
NO_EXPORTER: Mapping[str, str] = {"OTEL_TRACES_EXPORTER": "none"}


def exporting_to(endpoint: str, protocol: str) -> dict[str, str]:
    """Settings of an SDK that exports OTLP; `protocol` as OTEL_EXPORTER_OTLP_PROTOCOL has it."""
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }


def plugin_settings(data_dir: Path, *, endpoint: str) -> dict[str, str]:
    """Settings of the plug-in: its folder, and the service to send to."""
    return {**SHORT_TIMES, "SPANMETER_DATA_DIR": str(data_dir), "SPANMETER_ENDPOINT": endpoint}


def run_plain_agent(provider: LocalProvider) -> subprocess.CompletedProcess[str]:
    """Without instrumentation, and so without spanmeter."""
    return _run([sys.executable, "-m", "spanmeter.demo.agent", *TENANTS], provider, {})


def run_agent(
    provider: LocalProvider, settings: Mapping[str, str], *, interpreter_options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Under `opentelemetry-instrument`."""
    return run_program([*interpreter_options, "-m", "spanmeter.demo.agent", *TENANTS], provider, settings)


def run_program(
    arguments: Sequence[str], provider: LocalProvider, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Python with `arguments`, under `opentelemetry-instrument`."""
    script = Path(sys.executable).with_name("opentelemetry-instrument")
    return _run([str(script), sys.executable, *arguments], provider, settings)


def truth_of(provider: LocalProvider) -> list[Event]:
    """The events that the provider's own record calls for, sorted."""
    return sorted(
        (f"{call.response_id}-{token_class}", call.tenant or "", call.model_response, token_class, tokens)
        for call in provider.calls
        for token_class, tokens in (("input", call.input_tokens), ("output", call.output_tokens))
    )


def _run(
    command: Sequence[str], provider: LocalProvider, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    environment = {
        **clean_environment(os.environ),
        "OPENAI_BASE_URL": provider.url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **settings,
    }
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
