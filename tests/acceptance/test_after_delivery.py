"""What an operator does after delivery, with `serve` running beside the commands."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanmeter.testing.faults import Poison
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import eventually
from tests.acceptance.collector import (
    ARRIVAL_TIMEOUT_S,
    run_spanmeter,
    running_collector,
    running_service,
    settled,
    status_of,
)
from tests.acceptance.requests import PROTOBUF, call_attributes, call_span, new_response_id, request_of
from tests.acceptance.test_serve import calls_billed, send_one

TOKEN = "spat_forthistestonly"


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with running_service() as running:
        yield running


def test_refused_events_are_retried_and_given_up(tmp_path: Path, service: MeteringService) -> None:
    service.faults = itertools.repeat(Poison(is_bad=lambda event: True))
    data_dir = tmp_path / "data"
    with running_collector(data_dir, service=service) as collector:
        first, second = send_one(collector), send_one(collector)
        assert settled(data_dir, llm_spans=2).delivery.dead_letters == 4
        run = run_spanmeter("dead-letters", "list", "--json", data_dir=data_dir)
        letters = [json.loads(line) for line in run.stdout.splitlines()]
        assert {letter["id"].rpartition("-")[0] for letter in letters} == {first, second}
        assert all("poisoned" in letter["refusal"] for letter in letters)
        assert run_spanmeter("status", data_dir=data_dir).returncode == 1
        service.faults = ()
        ids = [f"--id={first}-{token_class}" for token_class in ("input", "output")]
        assert run_spanmeter("dead-letters", "retry", *ids, data_dir=data_dir).returncode == 0
        assert settled(data_dir, llm_spans=2).delivery.dead_letters == 2
        discarded = run_spanmeter("dead-letters", "discard", "--all", "--reason", "a test", data_dir=data_dir)
        assert discarded.stdout == "2 dead letters are given up\n"
    assert calls_billed(service) == [first]
    status = run_spanmeter("status", data_dir=data_dir)
    assert "0 dead letters, 2 given up" in status.stdout
    assert status.returncode == 0


def test_what_was_recorded_without_a_service_is_sent_later_and_once(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir) as collector:
        response_id = send_one(collector)
        settled(data_dir, llm_spans=1)
    hour_ago, in_an_hour = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset_s)) for offset_s in (-3600, 3600)
    )
    given = ("--from", hour_ago, "--to", in_an_hour)
    endpoint = {"SPANMETER_ENDPOINT": service.url}
    with running_collector(data_dir, service=service):
        for _ in range(2):
            assert run_spanmeter("replay", *given, "--local", data_dir=data_dir, settings=endpoint).returncode == 0
            assert settled(data_dir, llm_spans=1).delivery.local_only == 0
        assert calls_billed(service) == [response_id]
        again = run_spanmeter("replay", *given, "--json", data_dir=data_dir, settings=endpoint)
        assert json.loads(again.stdout)["put_back"] == 2
        assert eventually(lambda: service.duplicates == 2, timeout_s=ARRIVAL_TIMEOUT_S)
    assert calls_billed(service) == [response_id]


def test_what_is_assigned_in_a_shell_that_knows_no_service_is_sent_all_the_same(
    tmp_path: Path, service: MeteringService
) -> None:
    data_dir = tmp_path / "data"
    nameless = {key: value for key, value in call_attributes(new_response_id()).items() if key != "tenant.id"}
    with running_collector(data_dir, service=service) as collector:
        answer = httpx.post(
            f"{collector.http_url}/v1/traces",
            content=request_of([call_span(nameless)]).SerializeToString(),
            headers={"content-type": PROTOBUF},
            trust_env=False,
        )
        assert answer.status_code == 200
        settled(data_dir, llm_spans=1)
        assert run_spanmeter("parked", "assign", "acme", "--all", data_dir=data_dir).returncode == 0
        assert eventually(lambda: len(service.events) == 2, timeout_s=ARRIVAL_TIMEOUT_S)
    assert settled(data_dir, llm_spans=1).delivery.local_only == 0


def test_what_was_sent_is_read_back_and_complaints_are_told(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with MeteringService(token=TOKEN, customers=[]) as service:
        with running_collector(data_dir, service=service, settings={"KONNECT_TOKEN": TOKEN}) as collector:
            send_one(collector)
            assert eventually(lambda: settlement_of(data_dir)["settled"] == 2, timeout_s=ARRIVAL_TIMEOUT_S)
            log = collector.child.log.read_text()
        run = run_spanmeter("settlement", "--json", data_dir=data_dir)
        assert run.returncode == 1
        [row] = json.loads(run.stdout)["complaints"]
        assert (row["subject"], row["events"], row["tokens"]) == ("acme", 2, 18)
        status = run_spanmeter("status", data_dir=data_dir)
        assert status.returncode == 1
        assert "settlement 2 settled, 0 sent and not read back, 0 absent" in status.stdout
        assert "2 events of acme are not billed: no customer found for event subject: acme" in status.stdout
        assert "no customer found" in log
        assert TOKEN not in log + status.stdout + run.stdout


def test_a_token_that_may_only_ingest_switches_settlement_off_with_a_notice(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with (
        MeteringService(token=TOKEN, ingest_only=True) as service,
        running_collector(data_dir, service=service, settings={"KONNECT_TOKEN": TOKEN}) as collector,
    ):
        response_id = send_one(collector)
        assert eventually(lambda: settlement_of(data_dir)["state"] == "off", timeout_s=ARRIVAL_TIMEOUT_S)
        status = run_spanmeter("status", data_dir=data_dir)
        assert status.returncode == 0
        assert "events are not read back: HTTP 403" in status.stdout
        assert calls_billed(service) == [response_id]


def test_settlement_can_be_switched_off(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir, service=service, settings={"SPANMETER_SETTLEMENT": "off"}) as collector:
        send_one(collector)
        settled(data_dir, llm_spans=1)
    assert service.reads == []
    assert settlement_of(data_dir)["sent"] == 2


def settlement_of(data_dir: Path) -> dict[str, Any]:
    status = status_of(data_dir)
    return asdict(status.settlement) if status is not None else {"settled": 0, "state": "", "sent": 0}


def test_a_correction_is_sent_beside_what_it_corrects(tmp_path: Path, service: MeteringService) -> None:
    data_dir = tmp_path / "data"
    with running_collector(data_dir, service=service) as collector:
        event_id = f"{send_one(collector)}-input"
        settled(data_dir, llm_spans=1)
        given = ("correct", event_id, "--tokens", "-3", "--reason", "a test call")
        assert run_spanmeter(*given, data_dir=data_dir).returncode == 0
        assert eventually(lambda: len(service.events) == 3, timeout_s=ARRIVAL_TIMEOUT_S)
    assert sum(event["data"]["tokens"] for event in service.events) == 15
    [row] = [
        row
        for row in json.loads(run_spanmeter("usage", "--json", data_dir=data_dir).stdout)
        if row["token_class"] == "input"
    ]
    assert row["tokens"] == 8
