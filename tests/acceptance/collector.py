"""`spanmeter serve` as a child process, in front of a metering service of our own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from spanmeter.demo.stage import clean_environment
from spanmeter.ledger.status import Status, read_status
from spanmeter.store.database import Database
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import Child, eventually, free_port, running

ARRIVAL_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 30.0

SHORT_TIMES: Mapping[str, str] = {
    "SPANMETER_TRACE_QUIET_S": "0.3",
    "SPANMETER_TRACE_MAX_S": "3",
    "SPANMETER_BATCH_INTERVAL_S": "0.1",
}

_OPENAPI = Path(__file__).parents[2] / "../shared/reference/konnect-metering-and-billing-v3-openapi.yaml"

Event = tuple[str, str, str, str, int]
"""Id, subject, model, token class, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """A running `spanmeter serve`, and the ports of 127.0.0.1 on which it receives OTLP."""

    child: Child
    grpc_port: int
    http_port: int
    data_dir: Path

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self.grpc_port}"

    def is_healthy(self) -> bool:
        return httpx.get(f"{self.http_url}/healthz", timeout=5, trust_env=False).status_code == 200


def running_service() -> MeteringService:
    """A service that holds every event to Konnect's rules, by its OpenAPI too where that file is at hand."""
    return MeteringService(openapi_path=_OPENAPI if _OPENAPI.exists() else None)


def serve_settings(data_dir: Path, *, service: MeteringService | None = None) -> dict[str, str]:
    """The environment of `spanmeter serve` on free ports."""
    return {
        **clean_environment(os.environ),
        **SHORT_TIMES,
        "SPANMETER_DATA_DIR": str(data_dir),
        "SPANMETER_OTLP_GRPC": f"127.0.0.1:{free_port()}",
        "SPANMETER_OTLP_HTTP": f"127.0.0.1:{free_port()}",
        **({"SPANMETER_ENDPOINT": service.url} if service is not None else {}),
    }


@contextmanager
def running_collector(
    data_dir: Path, *, service: MeteringService | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Collector]:
    """Run `spanmeter serve` until the block ends. Again with the same folder it is a restart, its log goes on."""
    environment = {**serve_settings(data_dir, service=service), **(settings or {})}
    grpc_port, http_port = (
        int(environment[name].rpartition(":")[2]) for name in ("SPANMETER_OTLP_GRPC", "SPANMETER_OTLP_HTTP")
    )
    command = [sys.executable, "-m", "spanmeter", "serve"]
    log = data_dir.with_name(f"{data_dir.name}.log")
    with running(command, environment=environment, log=log, ports=(grpc_port, http_port)) as child:
        yield Collector(child=child, grpc_port=grpc_port, http_port=http_port, data_dir=data_dir)


def run_spanmeter(
    *arguments: str, data_dir: Path, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "spanmeter", *arguments],
        env={**serve_settings(data_dir), **(settings or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT_S,
    )


def status_of(data_dir: Path) -> Status | None:
    """The books as they are; None where nothing was ever stored."""
    database = Database.open_existing(data_dir)
    if database is None:
        return None
    with closing(database):
        return read_status(database)


def settled(data_dir: Path, *, llm_spans: int) -> Status:
    """The books when so many LLM spans have come, all are decided, and all events are sent. AssertionError if that
    does not come to pass in time."""

    def is_settled() -> bool:
        status = status_of(data_dir)
        return (
            status is not None
            and status.received.llm_spans >= llm_spans
            and not status.undecided.spans
            and not status.delivery.pending
        )

    assert eventually(is_settled, timeout_s=ARRIVAL_TIMEOUT_S), f"not settled: {status_of(data_dir)}"
    status = status_of(data_dir)
    assert status is not None
    return status


def events_of(service: MeteringService) -> list[Event]:
    """What the service has taken, each event once, sorted."""
    return sorted(_event(event) for event in service.events)


def sent_to(service: MeteringService) -> int:
    """How many events were sent, repetitions included."""
    return sum(map(len, service.batches))


def outcomes_of(status: Status) -> dict[str, int]:
    """Spans by outcome."""
    spans: dict[str, int] = {}
    for row in status.outcomes:
        spans[row.outcome] = spans.get(row.outcome, 0) + row.spans
    return spans


def parsed_lines(text: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines of an output."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _event(event: Mapping[str, Any]) -> Event:
    data = event["data"]
    return event["id"], event["subject"], data["model"], data["type"], data["tokens"]
