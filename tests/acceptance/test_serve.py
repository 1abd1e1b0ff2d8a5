"""The collector as an operator meets it: stops, kills and restarts that lose and double nothing, and plain words."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import STOP_TIMEOUT_S, eventually
from tests.acceptance.collector import (
    ARRIVAL_TIMEOUT_S,
    Collector,
    events_of,
    run_spanmeter,
    running_collector,
    running_service,
    sent_to,
    settled,
    status_of,
)
from tests.acceptance.requests import PROTOBUF, call_request, new_response_id

KILL_AFTER = (25, 150, 400)
"""Requests acknowledged since the last start: about to be decided, being decided, being sent."""


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


class Sender:
    """Sends one call a request, the next when the last was answered, from a thread, until the connection breaks."""

    def __init__(self, collector: Collector) -> None:
        self._url = f"{collector.http_url}/v1/traces"
        self._thread = threading.Thread(target=self._send)
        self.sent: list[str] = []
        self.acknowledged: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(STOP_TIMEOUT_S)
        assert not self._thread.is_alive()

    def has_acknowledged(self, requests: int) -> bool:
        """Whether so many have been answered, after waiting for it."""
        return eventually(lambda: len(self.acknowledged) >= requests, timeout_s=ARRIVAL_TIMEOUT_S)

    def _send(self) -> None:
        with httpx.Client(headers={"content-type": PROTOBUF}, trust_env=False) as client:
            while True:
                response_id = new_response_id()
                self.sent.append(response_id)
                try:
                    answer = client.post(self._url, content=call_request(response_id).SerializeToString())
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    return
                self.acknowledged.append(response_id)


def send_one(collector: Collector) -> str:
    """An acknowledged call's response id."""
    response_id = new_response_id()
    answer = httpx.post(
        f"{collector.http_url}/v1/traces",
        content=call_request(response_id).SerializeToString(),
        headers={"content-type": PROTOBUF},
        trust_env=False,
    )
    assert answer.status_code == 200
    return response_id


def calls_billed(service: MeteringService) -> list[str]:
    """Response ids, each as often as it was billed; AssertionError where a call is billed by half or wrongly."""
    tokens: dict[str, dict[str, int]] = {}
    for event_id, _, _, token_class, number in events_of(service):
        call = tokens.setdefault(event_id.rpartition("-")[0], {})
        assert token_class not in call
        call[token_class] = number
    assert all(call == {"input": 11, "output": 7} for call in tokens.values())
    return list(tokens)


def test_sigterm_stops_in_order_and_a_restart_continues(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    patient = {"SPANMETER_TRACE_QUIET_S": "60", "SPANMETER_TRACE_MAX_S": "60"}
    with running_collector(data_dir, service=service, settings=patient) as collector:
        waiting = send_one(collector)
        collector.child.process.send_signal(signal.SIGTERM)
        assert collector.child.process.wait(STOP_TIMEOUT_S) == 0
        assert collector.child.log.read_text().endswith("spanmeter has stopped\n")
        assert service.events == []  # the trace had not been quiet for long enough
        status = status_of(data_dir)
        assert status is not None
        assert status.undecided.spans == 1
    with running_collector(data_dir, service=service) as collector:
        later = send_one(collector)
        status = settled(data_dir, llm_spans=2)
    assert sorted(calls_billed(service)) == sorted([waiting, later])
    assert sent_to(service) == 4
    assert status.balanced


def test_what_is_decided_is_sent_before_a_stop_ends(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir, service=service, settings={"SPANMETER_BATCH_INTERVAL_S": "60"}) as collector:
        response_id = send_one(collector)
        assert eventually(
            lambda: (status := status_of(data_dir)) is not None and status.delivery.pending == 2,
            timeout_s=ARRIVAL_TIMEOUT_S,
        )
    assert calls_billed(service) == [response_id]
    assert settled(data_dir, llm_spans=1).delivery.state == "delivering"


def test_kill_9_loses_and_doubles_nothing_that_was_acknowledged(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    sent: list[str] = []
    acknowledged: list[str] = []
    for requests in KILL_AFTER:
        # Decisions and deliveries go on all the time, so that the kill falls among all of them.
        settings = {"SPANMETER_TRACE_QUIET_S": "0.05", "SPANMETER_BATCH_INTERVAL_S": "0.01"}
        with running_collector(data_dir, service=service, settings=settings) as collector:
            sender = Sender(collector)
            sender.start()
            assert sender.has_acknowledged(requests)
            collector.child.kill()
            sender.join()
            sent += sender.sent
            acknowledged += sender.acknowledged
    with running_collector(data_dir, service=service):
        status = settled(data_dir, llm_spans=len(acknowledged))
    billed = calls_billed(service)
    assert len(acknowledged) >= sum(KILL_AFTER)
    assert set(acknowledged) <= set(billed) <= set(sent)
    assert status.balanced
    assert status.received.llm_spans == len(billed)


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        for variable in ("SPANMETER_OTLP_GRPC", "SPANMETER_OTLP_HTTP"):
            run = run_spanmeter("serve", data_dir=tmp_path / "data", settings={variable: address})
            assert run.returncode == 1
            assert address in run.stderr
            assert variable in run.stderr
            assert "Traceback" not in run.stderr


def test_a_second_collector_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir) as collector:
        run = run_spanmeter("serve", data_dir=data_dir)
        assert run.returncode == 1
        assert f"data folder {data_dir}: another `spanmeter serve` uses it" in run.stderr
        assert "SPANMETER_DATA_DIR" in run.stderr
        assert collector.is_healthy()


def test_without_a_token_it_says_so_and_keeps_the_local_ledger(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir) as collector:
        said = "no KONNECT_TOKEN and no SPANMETER_ENDPOINT"
        assert eventually(lambda: said in collector.child.log.read_text(), timeout_s=10)
        send_one(collector)
        status = settled(data_dir, llm_spans=1)
    assert (status.delivery.state, status.delivery.local_only) == ("idle", 2)
    usage = run_spanmeter("usage", "--csv", data_dir=data_dir)
    assert usage.stdout.splitlines() == [
        "tenant,period,model,token_class,events,tokens",
        "acme,,gpt-4o-mini,input,1,11",
        "acme,,gpt-4o-mini,output,1,7",
    ]


def test_all_mistakes_in_the_settings_are_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "SPANMETER_OTLP_GRPC": "4317",
        "SPANMETER_TOKEN_CLASSES": "input,outptu",
        "SPANMETER_TRACE_QUIET_S": "soon",
        "KONNECT_REGION": "moon",
    }
    run = run_spanmeter("serve", data_dir=tmp_path / "data", settings=wrong)
    assert run.returncode == 2
    lines = run.stderr.splitlines()
    for variable, value in wrong.items():
        assert any(line.startswith(f"spanmeter: {variable}: ") and value.split(",")[-1] in line for line in lines), (
            variable,
            run.stderr,
        )
    assert not (tmp_path / "data").exists()


def test_a_secret_is_never_shown(tmp_path: Path, service: MeteringService) -> None:
    token = f"spat_{os.urandom(8).hex()}"
    settings = {"KONNECT_TOKEN": token}
    data_dir = tmp_path / "data"
    with running_collector(data_dir, service=service, settings=settings) as collector:
        send_one(collector)
        settled(data_dir, llm_spans=1)
        log = collector.child.log.read_text()
    assert {request.headers.get("authorization") for request in service.requests} == {"Bearer"}
    shown = run_spanmeter("settings", data_dir=data_dir, settings=settings)
    assert token not in log + shown.stdout + shown.stderr
