"""The OpenTelemetry Collector as a child process, with this repository's otel-config.yaml.

Looked for in this order: `SPANMETER_TEST_OTELCOL`, `otelcol-contrib` and `otelcol` on PATH, the build that the script
`build-otelcol` next to this file leaves in the user's cache. Only one with the file_storage extension will do.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.acceptance.child import Child, free_port, running

VERSION = "0.165.0"
CONFIG = Path(__file__).parents[2] / "otel-config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Otelcol:
    """A running collector and the ports of 127.0.0.1 on which it receives OTLP."""

    child: Child
    grpc_port: int
    http_port: int


def require_otelcol() -> Path:
    """The collector's binary; skips the test with the reason where this machine has none that will do."""
    found = _find()
    if isinstance(found, Path):
        return found
    pytest.skip(found)


@contextmanager
def running_otelcol(
    folder: Path, *, metering_port: int, backend_port: int, settings: Mapping[str, str] | None = None
) -> Iterator[Otelcol]:
    """Run the collector with otel-config.yaml: queue in `folder`, spanmeter and the backend on these gRPC ports.

    Calling it again with the same `folder` is a restart: the queue is found again. `settings` are further environment
    variables.
    """
    binary = require_otelcol()
    grpc_port, http_port = free_port(), free_port()
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "COLLECTOR_OTLP_GRPC": f"127.0.0.1:{grpc_port}",
        "COLLECTOR_OTLP_HTTP": f"127.0.0.1:{http_port}",
        "COLLECTOR_STORAGE_DIR": str(folder / "queue"),
        "METERING_OTLP_ENDPOINT": f"127.0.0.1:{metering_port}",
        "BACKEND_OTLP_ENDPOINT": f"127.0.0.1:{backend_port}",
        **(settings or {}),
    }
    command = [
        str(binary),
        f"--config={CONFIG}",
        "--set=service.telemetry.metrics.level=none",  # else it listens on the fixed port 8888
    ]
    ports = (grpc_port, http_port)
    with running(command, environment=environment, log=folder / "otelcol.log", ports=ports) as child:
        yield Otelcol(child=child, grpc_port=grpc_port, http_port=http_port)


@cache
def _find() -> Path | str:
    """The binary, or the reason why there is none."""
    if named := os.environ.get("SPANMETER_TEST_OTELCOL"):
        return Path(named) if _stores_files(Path(named)) else f"SPANMETER_TEST_OTELCOL={named} has no file_storage"
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanmeter-tests" / f"otelcol-{VERSION}"
    on_path = [Path(p) for name in ("otelcol-contrib", "otelcol") if (p := shutil.which(name))]
    candidates = [*on_path, *([cached] if cached.exists() else [])]
    for candidate in candidates:
        if _stores_files(candidate):
            return candidate
    if candidates:
        return f"no OpenTelemetry Collector with the file_storage extension: {', '.join(map(str, candidates))} has none"
    return f"no OpenTelemetry Collector on PATH and none at {cached}: tests/acceptance/build-otelcol builds one"


def _stores_files(binary: Path) -> bool:
    try:
        listed = subprocess.run([binary, "components"], capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"file_storage" in listed.stdout
