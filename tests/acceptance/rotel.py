"""Rotel, a collector that others wrote in Rust, as a child process: its wheel from PyPI brings the binary."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.acceptance.child import Child, free_port, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotel:
    """A running rotel and the ports of 127.0.0.1 on which it receives OTLP."""

    child: Child
    grpc_port: int
    http_port: int


def require_rotel() -> Path:
    """Rotel's binary; skips the test with the reason where its wheel is not installed or has none for this machine."""
    spec = importlib.util.find_spec("rotel")
    if spec is None or spec.origin is None:
        pytest.skip("rotel is not installed: it comes with spanmeter[test] where PyPI has a wheel for this machine")
    binary = Path(spec.origin).with_name("rotel-agent")
    if not os.access(binary, os.X_OK):
        pytest.skip(f"the installed rotel has no binary for this machine at {binary}")
    return binary


@contextmanager
def running_rotel(folder: Path, *, export_endpoint: str, protocol: Literal["grpc", "http"]) -> Iterator[Rotel]:
    """Run rotel until the block ends: OTLP in on both ports, traces out to `export_endpoint`, a URL without a path.

    It batches for 200 ms and keeps its queue in memory.
    """
    binary = require_rotel()
    grpc_port, http_port = free_port(), free_port()
    command = [
        str(binary),
        "start",
        f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
        f"--otlp-http-endpoint=127.0.0.1:{http_port}",
        "--exporter=otlp",
        f"--otlp-exporter-endpoint={export_endpoint}",
        f"--otlp-exporter-protocol={protocol}",
        "--otlp-exporter-retry-initial-backoff=200ms",
        f"--pid-file={folder / 'rotel.pid'}",
        f"--log-file={folder / 'rotel.out'}",
    ]
    environment = {"PATH": os.environ.get("PATH", "")}
    ports = (grpc_port, http_port)
    with running(command, environment=environment, log=folder / "rotel.log", ports=ports) as child:
        yield Rotel(child=child, grpc_port=grpc_port, http_port=http_port)
