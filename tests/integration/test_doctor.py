"""The doctor on real folders, locks and processes, and with a service on loopback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanmeter.doctor.finding import Finding, Verdict
from spanmeter.doctor.folder import check_folder
from spanmeter.doctor.service import check_service
from spanmeter.settings import load
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.testing.faults import Answer, HangUp
from spanmeter.testing.metering_service import MeteringService
from spanmeter.testing.reading_back import LLM_TOKENS
from tests.acceptance.child import free_port
from tests.integration.events import Books, usage_event
from tests.spans import NOW_NS

TOKEN = "spat_forthistestonly"
HOLD = """
import sys
from pathlib import Path
from spanmeter.store.lock import FileLock
assert FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def by_check(found: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


def verdicts(found: Iterator[Finding]) -> dict[str, str]:
    return {check: finding.verdict.value for check, finding in by_check(found).items()}


class TestFolder:
    def test_in_order(self, tmp_path: Path) -> None:
        books = Books(tmp_path)
        books.make(usage_event(1))
        before = sorted(tmp_path.iterdir())
        assert set(verdicts(check_folder(tmp_path, min_free_bytes=1)).values()) == {"ok"}
        assert sorted(tmp_path.iterdir()) == before
        books.database.close()

    def test_not_there_yet(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "b"
        assert set(verdicts(check_folder(folder, min_free_bytes=1)).values()) == {"ok"}
        assert not folder.parent.exists()

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("x")
        found = by_check(check_folder(tmp_path / "state", min_free_bytes=1))
        assert found["data folder"].verdict is Verdict.WRONG

    def test_no_room(self, tmp_path: Path) -> None:
        assert by_check(check_folder(tmp_path, min_free_bytes=2**60))["disk space"].verdict is Verdict.WRONG

    def test_who_works_on_it(self, tmp_path: Path) -> None:
        assert "nobody" in by_check(check_folder(tmp_path, min_free_bytes=1))["processes"].said
        command = [sys.executable, "-c", HOLD, str(tmp_path / "worker.lock")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            said = by_check(check_folder(tmp_path, min_free_bytes=1))["processes"].said
            assert said == f"process {holder.pid} assembles and delivers"
            holder.communicate()

    def test_a_damaged_file_halted_delivery_and_dead_letters(self, tmp_path: Path) -> None:
        books = Books(tmp_path / "used")
        books.make(usage_event(1))
        SqliteDeliveryLog(books.database).halted(at_ns=NOW_NS, error="HTTP 401", hint="renew the token")
        finding = by_check(check_folder(tmp_path / "used", min_free_bytes=1))["delivery"]
        assert (finding.verdict, finding.todo) == (Verdict.WRONG, "renew the token")
        SqliteDeliveryLog(books.database).succeeded(at_ns=NOW_NS)
        books.refuse()
        assert "1 events were refused" in by_check(check_folder(tmp_path / "used", min_free_bytes=1))["delivery"].said
        books.database.close()
        (tmp_path / "spanmeter.db").write_bytes(b"no database" * 1000)
        assert by_check(check_folder(tmp_path, min_free_bytes=1))["database"].verdict is Verdict.WRONG


def examine(url: str, token: str = TOKEN) -> dict[str, Finding]:
    return by_check(check_service(load({"SPANMETER_ENDPOINT": url, "KONNECT_TOKEN": token})))


class TestService:
    @pytest.mark.parametrize("version", ["v3", "v1"])
    def test_in_order_and_nothing_is_sent(self, version: str) -> None:
        with MeteringService(token=TOKEN) as service:
            found = examine(service.url if version == "v3" else service.v1_url)
            assert {check: finding.verdict.value for check, finding in found.items()} == dict.fromkeys(
                ("network", "token", "clock", "meters"), "ok"
            )
            assert service.events == []
            assert [request.size for request in service.requests] == [2]

    def test_a_wrong_token(self) -> None:
        with MeteringService(token=TOKEN) as service:
            finding = examine(service.url, token="spat_other")["token"]
        assert finding.verdict is Verdict.WRONG
        assert "KONNECT_TOKEN" in finding.todo
        assert "spat_other" not in finding.said

    def test_a_token_that_may_only_ingest(self) -> None:
        with MeteringService(token=TOKEN, ingest_only=True) as service:
            found = examine(service.url)
        assert (found["token"].verdict, found["meters"].verdict) == (Verdict.OK, Verdict.WARNING)

    def test_no_meter(self) -> None:
        with MeteringService(meters=[{**LLM_TOKENS, "event_type": "prompt"}]) as service:
            finding = examine(service.url)["meters"]
        assert finding.verdict is Verdict.WRONG
        assert "kong.llm_request" in finding.todo

    @pytest.mark.parametrize("fault", [HangUp(), Answer(status=503), Answer(status=404)])
    def test_a_service_that_does_not_take_events(self, fault: HangUp | Answer) -> None:
        with MeteringService(faults=[fault]) as service:
            assert examine(service.url)["token"].verdict is Verdict.WRONG

    def test_nobody_there(self) -> None:
        found = examine(f"http://127.0.0.1:{free_port()}/api/v1/events")
        assert {finding.verdict for finding in found.values()} == {Verdict.WRONG}

    def test_no_such_name(self) -> None:
        assert "DNS" in examine("https://spanmeter.invalid/api/v1/events")["network"].said

    def test_no_service(self) -> None:
        [finding] = check_service(load({}))
        assert finding.verdict is Verdict.WARNING

    def test_a_token_that_would_travel_in_clear(self) -> None:
        [finding] = check_service(
            load({"SPANMETER_ENDPOINT": "http://example.com/api/v1/events", "KONNECT_TOKEN": TOKEN})
        )
        assert finding.verdict is Verdict.WRONG
