"""Whatever the application's tracing does with its spans, each LLM call is metered, and the application's processors,
exporters, samplers and outgoing requests are as they were without the plug-in."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from spanmeter.ledger.report import usage_rows
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter_instrumentation.hooks import Hooks
from spanmeter_instrumentation.recorder import Recorder

TENANTS = ("acme", "globex", "initech")
CALLS = 4


class Counted(IdGenerator):
    """The same ids in every run."""

    def __init__(self) -> None:
        self._last = 0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        return (self.generate_span_id() * 0x9E3779B97F4A7C15) % 2**128


class Listener(SpanProcessor):
    """A processor that does not look at the sampled flag, as custom ones may."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        parent = trace.get_current_span(parent_context)
        self.heard.append(("start", span.name, parent.is_recording(), parent.get_span_context().span_id))

    def on_end(self, span: ReadableSpan) -> None:
        self.heard.append(("end", _seen(span)))


class Exporter(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[tuple[object, ...]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += [_seen(span) for span in spans]
        return SpanExportResult.SUCCESS


def _seen(span: ReadableSpan) -> tuple[object, ...]:
    """A span as an exporter would send it, but for its times."""
    said = json.loads(span.to_json())
    for when in ("start_time", "end_time"):
        del said[when]
    for event in said["events"]:
        del event["timestamp"]
    return (json.dumps(said), span.dropped_attributes, span.context and span.context.trace_flags)


class Picky(Sampler):
    """Decides by what samplers can see: name, parent's sampling and recording."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any, **_: Any) -> SamplingResult:
        parent = trace.get_current_span(parent_context)
        self.asked.append((name, parent.is_recording(), parent.get_span_context().trace_flags))
        decisions = (Decision.DROP, Decision.RECORD_ONLY, Decision.RECORD_AND_SAMPLE)
        return SamplingResult(decisions[len(self.asked) % 3], {"sampled.by": "picky"})

    def get_description(self) -> str:
        return "picky"


class World:
    """One run of an application: what its tracing set-up got to see, and what it sent."""

    def __init__(self, sampler: Sampler, limits: SpanLimits | None = None) -> None:
        self.sampler = sampler
        self.limits = limits
        self.exporter = Exporter()
        self.listener = Listener()
        self.outgoing: list[dict[str, str]] = []
        self.lines: list[str] = []

    def provider(self) -> TracerProvider:
        provider = TracerProvider(
            sampler=self.sampler,
            resource=Resource({"service.name": "agent"}),
            id_generator=Counted(),
            span_limits=self.limits,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        provider.add_span_processor(self.listener)
        return provider

    def seen(self) -> tuple[object, ...]:
        asked = self.sampler.asked if isinstance(self.sampler, Picky) else None
        return (self.exporter.spans, self.listener.heard, self.outgoing, self.lines, asked)


Application = Callable[[World], None]


def agent(world: World) -> None:
    """Requests of three tenants, each with LLM calls, failures and outgoing requests."""
    _serve(world, world.provider(), None)


def behind_an_unsampled_parent(world: World) -> None:
    remote = SpanContext(trace_id=7, span_id=2**63, is_remote=True, trace_flags=TraceFlags(0))
    _serve(world, world.provider(), set_span_in_context(NonRecordingSpan(remote)))


def that_shuts_its_provider_down_first(world: World) -> None:
    provider = world.provider()
    provider.shutdown()
    _serve(world, provider, None)


def with_a_queue_of_one(world: World) -> None:
    provider = world.provider()
    provider.add_span_processor(
        BatchSpanProcessor(Exporter(), max_queue_size=1, max_export_batch_size=1, schedule_delay_millis=1e9)
    )
    _serve(world, provider, None)
    provider.shutdown()


def with_a_processor_that_raises(world: World) -> None:
    provider = world.provider()
    provider.add_span_processor(_Broken())
    for tenant in TENANTS:
        for number in range(CALLS):
            span = provider.get_tracer("llm").start_span("chat", attributes=chat(number) | {"tenant.id": tenant})
            with pytest.raises(RuntimeError, match="broken"):
                span.end()


class _Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("broken")


def _serve(world: World, provider: TracerProvider, context: otel_context.Context | None) -> None:
    tracer = provider.get_tracer("http.server", "1.0")
    for tenant in TENANTS:
        with tracer.start_as_current_span("POST /ask", context=context) as request:
            request.set_attribute("tenant.id", tenant)
            for number in range(CALLS):
                _call(world, provider, number)
            request.end()
            request.set_attribute("late", 1)


def _call(world: World, provider: TracerProvider, number: int) -> None:
    attributes = chat(number)
    try:
        with provider.get_tracer("llm").start_as_current_span(
            "chat", kind=trace.SpanKind.CLIENT, attributes=dict(list(attributes.items())[:3])
        ) as span:
            span.set_attributes(attributes)
            for index in range(200):  # as OpenInference's messages do
                span.set_attribute(f"llm.input_messages.{index}.message.content", "hello " * 5)
            span.add_event("choice", {"index": 0})
            headers: dict[str, str] = {}
            inject(headers)
            world.outgoing.append(headers)
            if number == 3:
                raise ValueError("after the answer")
    except ValueError:
        pass


def chat(number: int) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini-with-a-long-name",
        "gen_ai.usage.input_tokens": 10 + number,
        "gen_ai.usage.output_tokens": 1,
    }


TRUTH = {
    (tenant, token_class): tokens
    for tenant in TENANTS
    for token_class, tokens in (("input", sum(10 + number for number in range(CALLS))), ("output", CALLS))
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def recorder(folder: Path) -> Iterator[Recorder]:
    recorder = Recorder(load({"SPANMETER_DATA_DIR": str(folder), "SPANMETER_SHUTDOWN_S": "10"}))
    yield recorder
    recorder.finish()


def metered(folder: Path) -> dict[tuple[str, str], int]:
    database = Database.open_existing(folder)
    assert database is not None
    with closing(database):
        return {(row.tenant, row.token_class): row.tokens for row in usage_rows(database)}


def models(folder: Path) -> set[str]:
    database = Database.open_existing(folder)
    assert database is not None
    with closing(database):
        return {row.model for row in usage_rows(database)}


SET_UPS: dict[str, tuple[Application, Callable[[], Sampler], SpanLimits | None]] = {
    "everything": (agent, lambda: ALWAYS_ON, None),
    "0 %": (agent, lambda: ALWAYS_OFF, None),
    "1 %": (agent, lambda: ParentBased(TraceIdRatioBased(0.01)), None),
    "40 %": (agent, lambda: ParentBased(TraceIdRatioBased(0.4)), None),
    "a sampler of its own": (agent, Picky, None),
    "an unsampled traceparent": (behind_an_unsampled_parent, lambda: ParentBased(ALWAYS_ON), None),
    "few attributes": (agent, lambda: ALWAYS_ON, SpanLimits(max_span_attributes=3)),
    "no attributes": (agent, lambda: ALWAYS_ON, SpanLimits(max_span_attributes=0)),
    "short attributes": (agent, lambda: ALWAYS_ON, SpanLimits(max_span_attribute_length=5)),
    "few and short attributes": (
        agent,
        lambda: ALWAYS_ON,
        SpanLimits(max_span_attributes=4, max_span_attribute_length=2),
    ),
    "no limits": (agent, lambda: ALWAYS_ON, SpanLimits(max_attributes=SpanLimits.UNSET)),
    "a provider shut down": (that_shuts_its_provider_down_first, lambda: ALWAYS_ON, None),
    "a full queue": (with_a_queue_of_one, lambda: ALWAYS_ON, None),
    "a broken processor": (with_a_processor_that_raises, lambda: ALWAYS_ON, None),
}


@pytest.mark.parametrize("set_up", SET_UPS)
def test_every_call_is_metered_and_the_application_sees_what_it_saw(
    set_up: str, folder: Path, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    application, sampler, limits = SET_UPS[set_up]
    caplog.set_level(logging.WARNING)
    without, with_plugin = World(sampler(), limits), World(sampler(), limits)

    application(without)
    without.lines = _lines(caplog)
    caplog.clear()

    hooks = Hooks(recorder.snapshot, recorder.take)
    assert hooks.install()
    try:
        application(with_plugin)
    finally:
        hooks.remove()
    with_plugin.lines = _lines(caplog)

    assert with_plugin.seen() == without.seen()
    recorder.finish()
    assert metered(folder) == TRUTH
    assert models(folder) == {"gpt-4o-mini-with-a-long-name"}


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """But for those of the batch processor's thread, which come when they come."""
    return [record.getMessage() for record in caplog.records if "internal" not in record.name]


def test_what_is_removed_is_as_it_was(recorder: Recorder) -> None:
    before = (TracerProvider().get_tracer("x").start_span.__func__, Span.end, trace.ProxyTracer.__dict__["_tracer"])  # type: ignore[attr-defined]
    hooks = Hooks(recorder.snapshot, recorder.take)
    assert hooks.install()
    hooks.remove()
    after = (TracerProvider().get_tracer("x").start_span.__func__, Span.end, trace.ProxyTracer.__dict__["_tracer"])  # type: ignore[attr-defined]
    assert after == before


def test_a_private_span_keeps_no_text(recorder: Recorder) -> None:
    hooks = Hooks(recorder.snapshot, recorder.take)
    assert hooks.install()
    try:
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        span = provider.get_tracer("x").start_span("chat", attributes={"http.route": "/", "gen_ai.provider.name": "o"})
        span.set_attribute("my.prompt", "SECRET")
        span.set_attributes({"my.answer": "SECRET", "gen_ai.usage.input_tokens": 3})
        span.add_event("answer", {"text": "SECRET"})
        span.record_exception(ValueError("SECRET"))
        assert isinstance(span, ReadableSpan)
        assert dict(span.attributes or {}) == {"gen_ai.provider.name": "o", "gen_ai.usage.input_tokens": 3}
        assert "SECRET" not in span.to_json()
        span.end()
    finally:
        hooks.remove()


class _Redacting(SpanProcessor):
    """Takes away what the exporters behind it are not to see: on the span itself, as such processors do."""

    def on_end(self, span: ReadableSpan) -> None:
        assert isinstance(span._attributes, BoundedAttributes)
        span._attributes._dict.clear()
        span._attributes._dict["redacted"] = True


def test_a_processor_that_redacts_rewrites_no_bill(folder: Path, recorder: Recorder) -> None:
    hooks = Hooks(recorder.snapshot, recorder.take)
    assert hooks.install()
    try:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(_Redacting())
        span = provider.get_tracer("llm").start_span("chat", attributes=chat(0) | {"tenant.id": "acme"})
        span.end()
    finally:
        hooks.remove()
    recorder.finish()
    assert isinstance(span, ReadableSpan)
    assert dict(span.attributes or {}) == {"redacted": True}
    assert metered(folder) == {("acme", "input"): 10, ("acme", "output"): 1}


def test_an_sdk_of_another_make_is_left_alone(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(span: Span, end_time: int | None = None) -> None:
        """Does not end."""

    monkeypatch.setattr(Span, "end", end)
    hooks = Hooks(recorder.snapshot, recorder.take)
    assert not hooks.install()
    assert Span.end is end
