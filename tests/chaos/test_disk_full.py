"""A disk that runs full under load: nothing is acknowledged that is not on it, and all goes on when there is room."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import httpx
import pytest

from tests.acceptance.child import eventually
from tests.acceptance.collector import Collector, running_collector, running_service, settled
from tests.chaos.full_disk import Room, file_size_limit, small_file_system
from tests.crash.audit import audit
from tests.crash.clients import GrpcWay, HttpWay, Way, call_body
from tests.crash.records import Records
from tests.crash.trial import SETTINGS

MOST_CALLS = 5_000
REFUSALS = 10


@pytest.mark.parametrize("narrow", [small_file_system, file_size_limit], ids=["tmpfs", "RLIMIT_FSIZE"])
def test_no_false_acknowledgement_and_recovery(
    tmp_path: Path, narrow: Callable[[Path], AbstractContextManager[Room]]
) -> None:
    folder, records = tmp_path / "disk", Records(7)
    data_dir = folder / "data"
    with (
        narrow(folder) as room,
        running_service() as service,
        running_collector(data_dir, service=service, settings=SETTINGS) as collector,
        closing(HttpWay(collector.http_port)) as http,
        closing(GrpcWay(collector.grpc_port)) as grpc,
    ):
        pid = collector.child.process.pid
        room.narrow(pid)
        refused = _send_until_refused([http, grpc], records)
        assert refused >= REFUSALS, "the disk never ran full"
        answer = httpx.get(f"{collector.http_url}/readyz", trust_env=False)
        assert answer.status_code == 503, answer.text
        assert "disk" in answer.text or "full" in answer.text
        before = len(records.acknowledged)
        room.widen(pid)
        assert eventually(lambda: _send_one(http, records) and _send_one(grpc, records), timeout_s=20)
        assert eventually(lambda: _is_ready(collector), timeout_s=20)
        assert len(records.acknowledged) > before
        settled(data_dir, llm_spans=len(records.acknowledged))
        found = audit(records, service, data_dir)
    assert found.problems == []
    assert (found.lost, found.doubled) == (0, 0)


def _send_one(way: Way, records: Records) -> bool:
    """A new call, sent once: acknowledged or not."""
    call = records.new_call()
    acknowledged = way.send(call_body(call))
    if acknowledged:
        records.acknowledge([call.name])
    return acknowledged


def _send_until_refused(ways: list[Way], records: Records) -> int:
    """How many refusals there were, by all ways in turn."""
    refused = 0
    for number in range(MOST_CALLS):
        refused += not _send_one(ways[number % len(ways)], records)
        if refused >= REFUSALS:
            break
    return refused


def _is_ready(collector: Collector) -> bool:
    return httpx.get(f"{collector.http_url}/readyz", trust_env=False).status_code == 200
