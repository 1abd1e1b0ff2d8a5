"""Courier, client and a service that speaks real HTTP on loopback."""

import itertools
import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from spanmeter.clock import SystemClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken
from spanmeter.testing.faults import Answer, Fault, Garbage, HangUp, Poison, Slow, TakeAndHangUp
from spanmeter.testing.metering_service import MeteringService
from spanmeter.testing.outbox import MemoryDeliveryLog, MemoryOutbox

TOKEN = "spat_forthistestonly"
# A copy of Konnect's OpenAPI file: not ours to ship, checked against where there is one.
OPENAPI = os.environ.get("SPANMETER_TEST_KONNECT_OPENAPI")


def event(number: int, **fields: object) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"call-{number}-input",
            "source": "spanmeter",
            "type": "kong.llm_request",
            "subject": "acme",
            "time": "2026-11-23T10:00:00.123456789Z",
            "datacontenttype": "application/json",
            "data": {"type": "input", "tokens": number + 1, "model": "gpt-4o-mini", "provider": "openai"},
            **fields,
        }
    ).encode()


def ids(events: Sequence[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in events]


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with MeteringService(token=TOKEN, openapi_path=Path(OPENAPI) if OPENAPI else None) as service:
        yield service


@pytest.fixture
def client(service: MeteringService) -> Iterator[EventsClient]:
    with EventsClient(service.url, clock=SystemClock(), token=lambda: TOKEN, timeout_s=5.0) as client:
        yield client


def courier(outbox: MemoryOutbox, client: EventsClient, pace: Pace | None = None, **more: Any) -> Courier:
    return Courier(
        outbox,
        client,
        log=MemoryDeliveryLog(),
        clock=SystemClock(),
        random=random.Random(7).random,
        pace=pace or Pace(backoff_base_s=0.01, backoff_cap_s=0.02, halt_s=0.05, interval_s=0.01, in_flight=4),
        **more,
    )


def test_one_connection_serves_many_batches(service: MeteringService, client: EventsClient) -> None:
    for number in range(3):
        assert client.send([event(number)]) == Taken()
    assert ids(service.events) == ["call-0-input", "call-1-input", "call-2-input"]
    assert {request.headers["content-type"] for request in service.requests} == {"application/cloudevents-batch+json"}
    assert {request.headers["authorization"] for request in service.requests} == {"Bearer"}
    assert service.connections == 1


@pytest.mark.parametrize("path", ["/v3/openmeter/events", "/api/v3/openmeter/events", "/api/v1/events"])
def test_the_three_endpoints(path: str) -> None:
    with MeteringService() as service, EventsClient(service.base_url + path, clock=SystemClock()) as client:
        assert client.send([event(1), event(2)]) == Taken()
        assert isinstance(client.send([event(3, subject="")]), Refused)
        assert len(service.events) == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"subject": ""}, "1.subject"),
        ({"subject": None}, "1.subject"),
        ({"id": 7}, "1.id"),
        ({"specversion": "2.0"}, "1.specversion"),
        ({"time": "2026-11-23t10:00:00z"}, "1.time"),
        ({"time": "2026-11-23T10:00:00"}, "1.time"),
        ({"time": "2026-02-30T10:00:00Z"}, "1.time"),
        ({"datacontenttype": "text/plain"}, "1.datacontenttype"),
        ({"data": {"tokens": None}}, "1.data"),
        ({"data": [1]}, "1.data"),
        ({"source": "my_svc:prod"}, "1.source"),
        ({"source": "a%zz"}, "1.source"),
        ({"dataschema": ""}, "1.dataschema"),
        ({"traceparent": "00-0-0-00"}, "1.traceparent"),
    ],
)
def test_a_bad_event_is_named_and_refuses_its_batch(
    service: MeteringService, client: EventsClient, wrong: dict[str, object], field: str
) -> None:
    reply = client.send([event(0), event(1, **wrong), event(2)])
    assert isinstance(reply, Refused)
    assert (reply.status, reply.bad) == (400, (1,))
    assert field in reply.detail
    assert service.events == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (HangUp(), Retry),
        (TakeAndHangUp(), Retry),
        (Garbage(), Retry),
        (Answer(status=503, headers={"retry-after": "3"}), Retry),
        (Answer(status=403), Halted),
        (Answer(status=308, headers={"location": "https://elsewhere.example/"}), Halted),
        (Answer(status=200, body=b"<!doctype html><title>Console</title>"), Halted),
        (Poison(is_bad=lambda event: True), Refused),
        (Slow(delay_s=0.01), Taken),
    ],
)
def test_faults(service: MeteringService, client: EventsClient, fault: Fault, kind: type[Reply]) -> None:
    service.faults = [fault]
    assert isinstance(client.send([event(1)]), kind)
    # One fault, one request: the connection after it is sound.
    assert client.send([event(1)]) == Taken()
    assert ids(service.events) == ["call-1-input"]


def test_a_slow_service_meets_the_timeout(service: MeteringService, client: EventsClient) -> None:
    service.faults = [Slow(delay_s=30.0)]
    start_s = time.monotonic()
    reply = client.send([event(1)], timeout_s=0.1)
    assert isinstance(reply, Retry)
    assert "no answer in time" in reply.reason
    assert time.monotonic() - start_s < 5.0


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/v1/events"
        with EventsClient(url, clock=SystemClock()) as client:
            assert isinstance(client.send([event(1)]), Retry)


def test_taken_without_an_answer_is_kept_once(service: MeteringService, client: EventsClient) -> None:
    service.faults = [TakeAndHangUp(), TakeAndHangUp()]
    outbox = MemoryOutbox()
    outbox.put([event(number) for number in range(5)])
    assert courier(outbox, client).drain(10.0) == 0
    assert ids(service.events) == [f"call-{number}-input" for number in range(5)]
    assert [ids(batch) for batch in service.batches] == [ids(service.events)] * 3
    assert service.duplicates == 10


@pytest.mark.parametrize("named", [True, False])
def test_poison_is_found_over_the_wire(service: MeteringService, client: EventsClient, named: bool) -> None:
    poisoned = {3, 17, 18, 31}

    def is_bad(each: dict[str, Any]) -> bool:
        return int(each["id"].split("-")[1]) in poisoned

    service.faults = itertools.repeat(Poison(is_bad=is_bad, named=named))
    outbox = MemoryOutbox()
    outbox.put([event(number) for number in range(32)])
    assert courier(outbox, client).drain(10.0) == 0
    assert {seq - 1 for seq in outbox.dead} == poisoned
    assert len(service.events) == 28
    assert service.duplicates == 0
    assert all("poisoned" in letter.reason for letter in outbox.dead.values())


def test_a_wrong_token_halts_until_it_is_mended(
    service: MeteringService, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text("spat_thewrongsecret")
    outbox = MemoryOutbox()
    outbox.put([event(number) for number in range(3)])
    with EventsClient(service.url, clock=SystemClock(), token=file.read_text) as client:
        carrier = courier(outbox, client, spawn=at_once)
        carrier.step()
        time.sleep(0.02)
        assert carrier.step() > 0
        assert not outbox.dead
        file.write_text(TOKEN + "\n")
        assert carrier.drain(10.0) == 0
    assert len(service.events) == 3
    assert "delivery halted" in caplog.text
    assert "thewrongsecret" not in caplog.text
    assert TOKEN not in caplog.text


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_a_thread_delivers_through_trouble_and_stops(service: MeteringService, client: EventsClient) -> None:
    service.faults = [HangUp(), Garbage(), Answer(status=500), Answer(status=429, headers={"retry-after": "0"})]
    outbox = MemoryOutbox()
    stop = threading.Event()
    carrier = courier(outbox, client)
    thread = threading.Thread(target=carrier.run, args=(stop,))
    thread.start()
    try:
        for number in range(50):
            outbox.put([event(number)])
        wait_for(lambda: outbox.depth() == 0)
    finally:
        stop.set()
        thread.join(10.0)
    assert not thread.is_alive()
    outbox.put([event(50)])
    assert carrier.drain(10.0) == 0
    assert ids(service.events) == [f"call-{number}-input" for number in range(51)]
    assert sorted(outbox.acked) == list(range(1, 52))


def test_a_dead_service_cannot_hold_up_a_stop(service: MeteringService, client: EventsClient) -> None:
    service.faults = itertools.repeat(Slow(delay_s=60.0))
    outbox = MemoryOutbox()
    outbox.put([event(1)])
    start_s = time.monotonic()
    assert courier(outbox, client).drain(0.3) == 1
    assert time.monotonic() - start_s < 4.0
    assert not outbox.leased
