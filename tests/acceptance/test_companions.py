"""`spanmeter serve` with SPANMETER_PROCESSES=2: one bill, whichever process a span came to, and whichever ends when."""

import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from spanmeter.settings import usable_cores
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import STOP_TIMEOUT_S, eventually, free_port
from tests.acceptance.collector import (
    ARRIVAL_TIMEOUT_S,
    Collector,
    events_of,
    outcomes_of,
    run_spanmeter,
    running_collector,
    running_service,
    settled,
    status_of,
)
from tests.acceptance.processes import children_of, is_running, sockets_of
from tests.acceptance.requests import call_attributes, call_request, call_span, new_response_id, request_of
from tests.crash.audit import audit
from tests.crash.clients import GrpcWay, HttpWay, RawClient
from tests.crash.records import Records
from tests.crash.trial import SETTINGS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process gets all connections")

TWO = {"SPANMETER_PROCESSES": "2"}
CONNECTIONS = 24
"""All of one process once in eight million times."""


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def companion_of(collector: Collector) -> int:
    [companion] = children_of(collector.child.process.pid)
    return companion


@pytest.mark.parametrize(("said", "companions"), [("1", 0), ("0", usable_cores() - 1), ("3", 2)])
def test_there_are_as_many_as_said(tmp_path: Path, said: str, companions: int) -> None:
    with running_collector(tmp_path / "data", settings={"SPANMETER_PROCESSES": said}) as collector:
        assert len(children_of(collector.child.process.pid)) == companions


def test_a_trace_that_came_to_both_is_billed_whole_and_once(tmp_path: Path, service: MeteringService) -> None:
    """The tenant stands on the root alone, so that a call is billed where the processes' spans met. Every call is sent
    twice, over different connections."""
    trace_id, root_id = secrets.token_bytes(16), secrets.token_bytes(8)
    root = call_span({"tenant.id": "acme"}, trace_id=trace_id, span_id=root_id)
    attributes = {key: value for key, value in call_attributes("").items() if key != "tenant.id"}
    spans = [
        call_span({**attributes, "gen_ai.response.id": new_response_id()}, trace_id=trace_id)
        for _ in range(CONNECTIONS - 1)
    ]
    for span in spans:
        span.parent_span_id = root_id
    bodies = [request_of([span]).SerializeToString() for span in (*spans, root)]
    with running_collector(tmp_path / "data", service=service, settings=TWO) as collector:
        processes = (collector.child.process.pid, companion_of(collector))
        before = [sockets_of(pid) for pid in processes]
        ways = [HttpWay(collector.http_port) for _ in range(2 * CONNECTIONS)]
        for way, body in zip(ways, [*bodies, *bodies], strict=True):
            assert way.send(body)
        assert all(sockets_of(pid) > known for pid, known in zip(processes, before, strict=True))
        for way in ways:
            way.close()
        status = settled(tmp_path / "data", llm_spans=2 * len(spans))
    assert {(subject, number) for _, subject, _, _, number in events_of(service)} == {("acme", 11), ("acme", 7)}
    assert len(service.events) == 2 * len(spans)
    assert service.duplicates == 0
    outcomes = outcomes_of(status)
    assert (outcomes["billed"], outcomes["duplicate"]) == (len(spans), len(spans))
    assert status.balanced


def test_a_companion_that_is_killed_costs_nothing_and_is_followed(tmp_path: Path, service: MeteringService) -> None:
    data_dir, records = tmp_path / "data", Records(5)
    with running_collector(data_dir, service=service, settings={**SETTINGS, **TWO}) as collector:
        clients = [RawClient(records, HttpWay(collector.http_port), patient=True) for _ in range(8)]
        clients += [RawClient(records, GrpcWay(collector.grpc_port), patient=True) for _ in range(2)]
        for client in clients:
            client.start()
        assert records.wait_for_more(100, timeout_s=ARRIVAL_TIMEOUT_S)
        killed = companion_of(collector)
        os.kill(killed, signal.SIGKILL)
        assert records.wait_for_more(100, timeout_s=ARRIVAL_TIMEOUT_S)
        pid = collector.child.process.pid
        assert eventually(lambda: children_of(pid) not in ([], [killed]), timeout_s=ARRIVAL_TIMEOUT_S)
        following = companion_of(collector)
        assert eventually(lambda: takes_connections(collector, following), timeout_s=ARRIVAL_TIMEOUT_S)
        for client in clients:
            client.stop()
        settled(data_dir, llm_spans=len(records.acknowledged))
        found = audit(records, service, data_dir)
        log = collector.child.log.read_text()
    assert found.problems == []
    assert (found.acknowledged, found.lost, found.doubled) == (found.billed, 0, 0)
    assert log.count("a receiving process has ended by SIGKILL; another starts in 1 s") == 1
    assert "Traceback" not in log


def takes_connections(collector: Collector, pid: int) -> bool:
    """Whether this process is given some of many."""
    before = sockets_of(pid)
    opened = [socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) for _ in range(CONNECTIONS)]
    try:
        return eventually(lambda: sockets_of(pid) > before, timeout_s=0.5)
    finally:
        for connection in opened:
            connection.close()


def test_where_the_service_is_killed_its_companion_ends_and_the_next_start_works(
    tmp_path: Path, service: MeteringService
) -> None:
    data_dir, records = tmp_path / "data", Records(6)
    ports = {f"SPANMETER_OTLP_{name}": f"127.0.0.1:{free_port()}" for name in ("GRPC", "HTTP")}
    settings = {**SETTINGS, **TWO, **ports}
    with running_collector(data_dir, service=service, settings=settings) as collector:
        companion = companion_of(collector)
        clients = [RawClient(records, HttpWay(collector.http_port), patient=True) for _ in range(4)]
        clients += [RawClient(records, GrpcWay(collector.grpc_port), patient=True) for _ in range(4)]
        for client in clients:
            client.start()
        assert records.wait_for_more(100, timeout_s=ARRIVAL_TIMEOUT_S)
        collector.child.kill()
        assert eventually(lambda: not is_running(companion), timeout_s=STOP_TIMEOUT_S)
    with running_collector(data_dir, service=service, settings=settings):
        assert records.wait_for_more(100, timeout_s=ARRIVAL_TIMEOUT_S)
        for client in clients:
            client.stop()
        settled(data_dir, llm_spans=len(records.acknowledged))
        found = audit(records, service, data_dir)
    assert found.problems == []
    assert (found.acknowledged, found.lost, found.doubled) == (found.billed, 0, 0)


def test_sigterm_ends_all_in_time_and_answers_what_is_in_flight(tmp_path: Path) -> None:
    data_dir, acknowledged = tmp_path / "data", []
    with running_collector(data_dir, settings=TWO) as collector:
        companion = companion_of(collector)

        def send() -> None:
            way = HttpWay(collector.http_port)
            with suppress(OSError, HTTPException):
                while way.send(call_request(new_response_id()).SerializeToString()):
                    acknowledged.append(1)
            way.close()

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(acknowledged) > 100, timeout_s=ARRIVAL_TIMEOUT_S)
        collector.child.process.send_signal(signal.SIGTERM)
        assert collector.child.process.wait(STOP_TIMEOUT_S) == 0
        assert not is_running(companion)
        for thread in threads:
            thread.join(STOP_TIMEOUT_S)
        log = collector.child.log.read_text()
    assert log.endswith("spanmeter has stopped\n")
    assert "has ended" not in log
    status = status_of(data_dir)
    assert status is not None
    assert status.received.llm_spans >= len(acknowledged)


@pytest.mark.parametrize("variable", ["SPANMETER_OTLP_GRPC", "SPANMETER_OTLP_HTTP"])
def test_a_port_in_use_is_said_once(tmp_path: Path, variable: str) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another `serve` with several processes has it
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        run = run_spanmeter("serve", data_dir=tmp_path / "data", settings={**TWO, variable: address})
    assert run.returncode == 1
    assert run.stderr.count(f"cannot listen on {address}: Address already in use") == 1
    assert variable in run.stderr
    assert "Traceback" not in run.stderr
