"""Tenants bound in code or carried as baggage, seen by the plug-in and not by the application's own exporters."""

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from opentelemetry import baggage, context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import spanmeter
from spanmeter.ledger.status import read_status
from spanmeter.middleware import TenantMiddleware
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.testing.metering_service import MeteringService
from spanmeter_instrumentation.context import captured
from spanmeter_instrumentation.exported import TenantSpanProcessor
from spanmeter_instrumentation.hooks import Hooks
from spanmeter_instrumentation.recorder import Recorder

CHAT: dict[str, str | int] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 10,
}


class Host:
    """An application with the plug-in in its process, an exporter of its own and a metering service. One at a time."""

    def __init__(self, folder: Path, service: MeteringService, **environ: str) -> None:
        self.folder = folder
        self.service = service
        settings = load(
            {"SPANMETER_DATA_DIR": str(folder), "SPANMETER_ENDPOINT": service.url, "SPANMETER_FLUSH_MS": "60000"}
            | environ
        )
        self.recorder = Recorder(settings)
        self.hooks = Hooks(self.recorder.snapshot, self.recorder.take)
        assert self.hooks.install()
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test-scope")

    def call(self, **attributes: str | int) -> None:
        self.tracer.start_span("chat", attributes=CHAT | attributes).end()

    def finish(self) -> None:
        self.hooks.remove()
        self.recorder.finish()

    def billed(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Subject and dimensions of every event, in the order of the calls' ends."""
        self.finish()
        own = {"type", "tokens", "model", "provider", "operation"}
        events = sorted(self.service.events, key=lambda event: event["time"])
        return [
            (event["subject"], {name: value for name, value in event["data"].items() if name not in own})
            for event in events
        ]

    def carriers(self) -> int:
        """Journalled spans that are no calls."""
        database = Database.open_existing(self.folder)
        assert database is not None
        with closing(database):
            rows = SqliteJournal(database).read(after=0, limit=1000)
            return sum(facts.call is None for row in rows for facts in row.facts)


@pytest.fixture
def service() -> Iterator[MeteringService]:
    with MeteringService() as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, service: MeteringService) -> Iterator[Host]:
    host = Host(tmp_path / "state", service)
    yield host
    host.finish()


class TestBoundInCode:
    def test_tenant_and_dimensions_reach_the_event_and_no_span(self, host: Host) -> None:
        with spanmeter.tenant("acme", tier="gold"), host.tracer.start_as_current_span("agent"):
            host.call()
        assert host.billed() == [("acme", {"tier": "gold"})]
        for span in host.exporter.get_finished_spans():
            assert dict(span.attributes or {}) in ({}, CHAT)

    def test_what_held_at_the_start_counts(self, host: Host) -> None:
        with spanmeter.tenant("acme"):
            early = host.tracer.start_span("chat", attributes=CHAT)
        with spanmeter.tenant("bolt"):
            early.end()
        assert host.billed() == [("acme", {})]

    def test_before_the_ancestors_and_after_the_span_s_own_attributes(self, host: Host) -> None:
        with host.tracer.start_as_current_span("agent", attributes={"tenant.id": "above"}), spanmeter.tenant("bound"):
            host.call()
            host.call(**{"tenant.id": "own"})
            host.call(**{"tenant.id": "x" * 513})
        assert [subject for subject, _ in host.billed()] == ["bound", "own"]
        database = Database.open_existing(host.folder)
        assert database is not None
        with closing(database):
            assert {row.reason for row in read_status(database).outcomes if row.outcome == "parked"} == {
                "tenant conflict"
            }

    def test_a_thread_that_got_the_trace_only_finds_it_above(self, host: Host) -> None:
        with spanmeter.tenant("acme", tier="gold"), host.tracer.start_as_current_span("agent"):
            there = context.get_current()

            def work() -> None:
                context.attach(there)
                host.call()

            with ThreadPoolExecutor(1) as pool:
                pool.submit(work).result()
        assert host.billed() == [("acme", {})]

    def test_many_at_once(self, host: Host) -> None:
        names = [f"tenant-{number}" for number in range(20)]

        async def request(name: str) -> None:
            with spanmeter.tenant(name, seat=name), host.tracer.start_as_current_span("request"):
                await asyncio.sleep(0)
                host.call()
                await asyncio.to_thread(host.call)

        async def run() -> None:
            await asyncio.gather(*map(request, names))

        asyncio.run(run())
        assert sorted(host.billed(), key=str) == sorted([(name, {"seat": name}) for name in names] * 2, key=str)

    def test_of_a_block_s_spans_the_uppermost_is_enough(self, host: Host) -> None:
        with spanmeter.tenant("acme"), host.tracer.start_as_current_span("request"):
            for _ in range(5):
                with host.tracer.start_as_current_span("query"):
                    host.tracer.start_span("row").end()
            with spanmeter.tenant("bolt"):
                host.tracer.start_span("query").end()
        assert host.recorder.flush()
        assert host.carriers() == 2
        host.finish()

    def test_settings_and_code_name_the_same_dimension(self, tmp_path: Path, service: MeteringService) -> None:
        host = Host(tmp_path / "state", service, SPANMETER_DIMENSIONS="tier=tenant.tier")
        with spanmeter.tenant("acme", tier="bound"):
            host.call()
            host.call(**{"tenant.tier": "own"})
        assert host.billed() == [("acme", {"tier": "bound"}), ("acme", {"tier": "own"})]


class TestBaggage:
    def test_without_a_baggage_span_processor(self, tmp_path: Path, service: MeteringService) -> None:
        host = Host(tmp_path / "state", service, SPANMETER_DIMENSIONS="tier=tenant.tier")
        carried = baggage.set_baggage("tenant.id", "acme", baggage.set_baggage("tenant.tier", "gold"))
        host.tracer.start_span("chat", context=carried, attributes=CHAT).end()
        token = context.attach(carried)
        host.call()
        context.detach(token)
        assert host.billed() == [("acme", {"tier": "gold"})] * 2

    def test_by_the_configured_keys_only(self, tmp_path: Path, service: MeteringService) -> None:
        host = Host(tmp_path / "state", service, SPANMETER_TENANT_ATTRIBUTES="customer")
        carried = baggage.set_baggage("customer", "acme", baggage.set_baggage("tenant.id", "bolt"))
        host.tracer.start_span("chat", context=carried, attributes=CHAT).end()
        assert host.billed() == [("acme", {})]

    def test_after_all_that_the_application_itself_said(self, host: Host) -> None:
        """It may be the header of a stranger's request."""
        remote = SpanContext(trace_id=7, span_id=9, is_remote=True, trace_flags=TraceFlags(1))
        stranger = baggage.set_baggage("tenant.id", "victim", set_span_in_context(NonRecordingSpan(remote)))
        token = context.attach(stranger)
        with host.tracer.start_as_current_span("request", attributes={"tenant.id": "above"}):
            host.call()
        with spanmeter.tenant("bound"):
            host.call()
        host.call(**{"tenant.id": "own"})
        host.call()
        context.detach(token)
        assert [subject for subject, _ in host.billed()] == ["above", "bound", "own", "victim"]

    def test_what_can_be_no_tenant_is_none(self, tmp_path: Path, service: MeteringService) -> None:
        host = Host(tmp_path / "state", service, SPANMETER_DEFAULT_SUBJECT="default")
        for value in ("", "x" * 600, "a\nb"):
            host.tracer.start_span("chat", context=baggage.set_baggage("tenant.id", value), attributes=CHAT).end()
        assert host.billed() == [("default", {})] * 3


def test_nothing_is_kept_of_nothing(host: Host) -> None:
    assert not captured(None)
    span = host.tracer.start_span("x")
    assert not any("captured" in name for name in vars(span))


def test_for_spans_that_are_metered_elsewhere() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(TenantSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("t")
    with spanmeter.tenant("acme", tier="gold"):
        tracer.start_span("bound").end()
        tracer.start_span("own", attributes={"tenant.id": "bolt"}).end()
    tracer.start_span("neither").end()
    assert [dict(span.attributes or {}) for span in exporter.get_finished_spans()] == [
        {"tenant.id": "acme", "tenant.tier": "gold"},
        {"tenant.id": "bolt", "tenant.tier": "gold"},
        {},
    ]


def test_requests_of_a_server_with_streamed_answers(host: Host) -> None:
    """uvicorn, three tenants at once: the calls that produce a streamed body are billed to the request's tenant."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            host.call()
            yield b"piece\n"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for piece in pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    guarded = TenantMiddleware(app, tenant=lambda scope: dict(scope["headers"])[b"x-user"].decode() or None)
    server = uvicorn.Server(uvicorn.Config(guarded, log_config=None, lifespan="on", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()

        def ask(user: str) -> bytes:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with closing(connection):
                connection.request("GET", "/", headers={"x-user": user})
                return connection.getresponse().read()

        try:
            with ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(ask, ["acme", "bolt", "cord", "acme", "bolt", ""]))
        finally:
            server.should_exit = True
            thread.join(10)
    assert answers == [b"piece\n" * 3] * 6
    subjects = [subject for subject, _ in host.billed()]
    assert {name: subjects.count(name) for name in set(subjects)} == {"acme": 6, "bolt": 6, "cord": 3}
