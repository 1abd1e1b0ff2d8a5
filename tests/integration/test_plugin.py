"""The plug-in inside a process: the SDK's own provider and spans, a real folder, a real service on loopback."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from spanmeter.errors import SettingsError
from spanmeter.ledger.report import usage_rows
from spanmeter.ledger.status import Status, read_status
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter.store.journal import JournalRow, SqliteJournal
from spanmeter.store.lock import FileLock
from spanmeter.testing.metering_service import MeteringService
from spanmeter_instrumentation.hooks import Hooks
from spanmeter_instrumentation.recorder import Recorder

CHAT: dict[str, str | int] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.prompt": "SECRET PROMPT",
}
OURS = ("spanmeter-journal", "spanmeter-assembly", "spanmeter-delivery")
LATER_MS = "60000"
"""Long enough that nothing is written by itself while a test runs."""


class Host:
    """An application with a tracer provider, and the plug-in in its process. One at a time."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.recorder = Recorder(
            load({"SPANMETER_DATA_DIR": str(folder), "SPANMETER_SHUTDOWN_S": "3"} | dict(environ or {}))
        )
        self.hooks = Hooks(self.recorder.snapshot, self.recorder.take)
        assert self.hooks.install()
        self.provider = TracerProvider(resource=Resource({"service.name": "agent"}), shutdown_on_exit=False)
        self.tracer = self.provider.get_tracer("test-scope")

    def call(self, tenant: str = "acme", **more: str | int) -> None:
        with self.tracer.start_as_current_span("agent", attributes={"tenant.id": tenant} if tenant else {}):
            self.tracer.start_span("chat", attributes=CHAT | more).end()

    def finish(self) -> None:
        self.hooks.remove()
        self.recorder.finish()

    def rows(self) -> list[JournalRow]:
        database = Database.open_existing(self.folder)
        if database is None:
            return []
        with closing(database):
            return list(SqliteJournal(database).read(after=0, limit=1000))

    def status(self) -> Status:
        database = Database.open_existing(self.folder)
        assert database is not None
        with closing(database):
            return read_status(database)

    def tokens(self) -> dict[tuple[str, str], int]:
        database = Database.open_existing(self.folder)
        assert database is not None
        with closing(database):
            return {(row.tenant, row.token_class): row.tokens for row in usage_rows(database)}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    assert not [thread.name for thread in threading.enumerate() if thread.name in OURS], "a test left threads"


def test_no_files_and_no_threads_before_the_first_span(folder: Path) -> None:
    host = Host(folder)
    assert host.recorder.flush()
    host.tracer.start_span("still going")
    assert not folder.exists()
    assert not [thread.name for thread in threading.enumerate() if thread.name in OURS]
    host.finish()
    assert not folder.exists()


def test_on_disk_after_a_flush(folder: Path) -> None:
    host = Host(folder, {"SPANMETER_FLUSH_MS": LATER_MS, "SPANMETER_TRACE_QUIET_S": "60"})
    host.call()
    assert host.rows() == []
    assert host.recorder.flush()
    [row] = host.rows()
    [chat, agent] = row.facts
    assert chat.call is not None
    assert chat.call.usage is not None
    assert (chat.call.usage.total, chat.call.request_model, chat.scope) == (15, "gpt-4o-mini", "test-scope")
    assert (agent.call, agent.tenant, agent.span_id) == (None, "acme", chat.parent_span_id)
    assert chat.service == "agent/"
    host.finish()


def test_with_no_delay_on_disk_before_the_span_has_ended(folder: Path) -> None:
    host = Host(folder, {"SPANMETER_FLUSH_MS": "0", "SPANMETER_TRACE_QUIET_S": "60"})
    for number in range(1, 4):
        host.tracer.start_span("chat", attributes=CHAT).end()
        assert len(host.rows()) == number
    host.finish()


def test_no_prompt_on_disk(folder: Path) -> None:
    host = Host(folder)
    host.call()
    host.recorder.flush()
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"gpt-4o-mini" in stored
    assert b"SECRET" not in stored
    host.finish()


@pytest.mark.parametrize("flush_ms", ["0", "100", LATER_MS])
def test_shutdown_decides_and_delivers(folder: Path, flush_ms: str) -> None:
    """Also where the process ends before its first span was written."""
    with MeteringService() as service:
        host = Host(folder, {"SPANMETER_FLUSH_MS": flush_ms, "SPANMETER_ENDPOINT": service.url})
        host.call("acme")
        host.call("bolt")
        host.finish()
        assert sorted((event["subject"], event["data"]["tokens"]) for event in service.events) == [
            ("acme", 5),
            ("acme", 10),
            ("bolt", 5),
            ("bolt", 10),
        ]
    status = host.status()
    assert status.balanced
    assert (status.delivery.pending, status.undecided.spans) == (0, 0)


def test_shutdown_without_a_service_keeps_a_local_ledger(folder: Path) -> None:
    host = Host(folder)
    host.call("acme")
    host.call("")
    host.finish()
    host.finish()
    assert host.tokens() == {("acme", "input"): 10, ("acme", "output"): 5}
    assert {row.outcome: row.spans for row in host.status().outcomes}["parked"] == 1


def test_what_the_service_does_not_take_waits_on_disk(folder: Path) -> None:
    with MeteringService() as service:
        url = service.url
    host = Host(folder, {"SPANMETER_ENDPOINT": url, "SPANMETER_SHUTDOWN_S": "0.3"})
    host.call()
    host.finish()
    assert host.status().delivery.pending == 2


def test_the_tenant_of_a_remote_trace_is_found_on_the_local_root(folder: Path) -> None:
    host = Host(folder)
    remote = SpanContext(trace_id=7, span_id=9, is_remote=True, trace_flags=TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(remote))
    with host.tracer.start_as_current_span("request", context=context, attributes={"tenant.id": "acme"}):
        host.tracer.start_span("chat", attributes=CHAT).end()
    host.finish()
    assert host.tokens() == {("acme", "input"): 10, ("acme", "output"): 5}


def test_while_another_process_works_it_only_journals(folder: Path) -> None:
    folder.mkdir()
    code = (
        "import sys; from pathlib import Path; from spanmeter.store.lock import FileLock\n"
        "print(FileLock(Path(sys.argv[1])).acquire(), flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder / "worker.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        host = Host(folder, {"SPANMETER_SHUTDOWN_S": "0.5"})
        host.call()
        host.finish()
        assert host.tokens() == {}
        assert len(host.rows()) > 0
        other.kill()
    assert FileLock(folder / "worker.lock").acquire()


class TestAGuestDoesNotBreakItsHost:
    def test_spans_wait_for_a_disk_that_cannot_be_written(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder.write_text("in the way")
        for flush_ms in ("0", LATER_MS):
            host = Host(folder, {"SPANMETER_FLUSH_MS": flush_ms})
            host.call()
            assert not host.recorder.flush()
            assert "wait in memory" in caplog.text
            if flush_ms == LATER_MS:
                folder.unlink()
                assert host.recorder.flush()
            host.finish()
        assert host.tokens() == {("acme", "input"): 10, ("acme", "output"): 5}

    def test_a_broken_disk_is_tried_again_by_itself(self, folder: Path) -> None:
        folder.write_text("in the way")
        host = Host(folder, {"SPANMETER_FLUSH_MS": "0"})
        host.call()
        folder.unlink()
        deadline = threading.Event()
        for _ in range(100):
            if host.rows():
                break
            deadline.wait(0.05)
        assert sum(len(row.facts) for row in host.rows()) == 2
        host.finish()

    @pytest.mark.parametrize("time_ns", [1.5e18, 1.767e9, float("inf"), -5, 2**63, 2**70])
    def test_strange_times(self, folder: Path, time_ns: int) -> None:
        host = Host(folder)
        host.tracer.start_span("chat", attributes=CHAT | {"tenant.id": "a"}, start_time=time_ns).end(time_ns)
        host.call()
        host.finish()
        assert host.tokens()["acme", "input"] == 10
        assert host.tokens()["a", "input"] == 10

    def test_strange_texts(self, folder: Path) -> None:
        host = Host(folder)
        with host.tracer.start_as_current_span("x", attributes={"tenant.id": "é\ud800"}):
            host.tracer.start_span("chat", attributes=CHAT | {"gen_ai.request.model": "\udfff"}).end()
        host.call("bolt")
        host.finish()
        assert set(host.tokens()) == {(who, what) for who in ("é\ufffd", "bolt") for what in ("input", "output")}

    def test_a_name_that_is_none(self, folder: Path) -> None:
        host = Host(folder)
        host.tracer.start_span(None, attributes=CHAT | {"tenant.id": "acme"}).end()  # type: ignore[arg-type]
        host.finish()
        assert host.tokens() == {("acme", "input"): 10, ("acme", "output"): 5}

    def test_an_endpoint_that_is_none_is_told_at_the_start(self, folder: Path) -> None:
        with pytest.raises(SettingsError, match="SPANMETER_ENDPOINT"):
            Host(folder, {"SPANMETER_ENDPOINT": "ftp://example.org"})
