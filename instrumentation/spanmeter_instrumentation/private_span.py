"""Spans that the application's tracing would not record: spanmeter records them, and nobody else sees them."""

import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AnyValue

from spanmeter_instrumentation.complaints import complain


class _Asking(threading.local):
    depth = 0


asking = _Asking()
"""Above zero on a thread inside the SDK's `start_span`: its samplers and processors see what they saw before."""


class PrivateSpan(Span):
    """Records what the vocabulary wants, and shows the context that the application would have had without spanmeter.

    `own` and `own_parent` are its identity for metering. Where a sampler dropped the span they are what it shows;
    where nothing traces, no new ids are shown, since they would travel with the next request and tell the services
    behind it not to sample either.

    To instrumentations it is recording, so that they fill in attributes. The SDK's `end` hands it to our hook; its
    span processor is none.
    """

    def __init__(
        self,
        name: str,
        *,
        shown: SpanContext,
        parent_span: trace.Span,
        kind: SpanKind,
        resource: Resource,
        scope: InstrumentationScope | None,
        keys: Collection[str],
    ) -> None:
        self.own: SpanContext
        shown_parent = parent_span.get_span_context()
        known_parent = own_context(parent_span)
        self.own_parent: SpanContext | None = known_parent if known_parent.is_valid else None
        if shown.is_valid and shown.span_id != shown_parent.span_id:
            self.own = shown
            if self.own_parent is not None and self.own_parent.trace_id != shown.trace_id:
                self.own_parent = None
        else:
            # Not from `random`, which an application may seed: equal ids would be taken for one call.
            trace_id = self.own_parent.trace_id if self.own_parent is not None else secrets.randbits(128) or 1
            self.own = SpanContext(trace_id, secrets.randbits(64) or 1, is_remote=False)
        super().__init__(
            name=name,
            context=shown,
            parent=shown_parent if shown_parent.is_valid else None,
            kind=kind,
            resource=resource,
            instrumentation_scope=scope,
        )
        self._keys = keys

    def is_recording(self) -> bool:
        return self.end_time is None and not asking.depth

    def set_attribute(self, key: str, value: AnyValue) -> None:
        self.set_attributes({key: value} if isinstance(key, str) else {})

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if self.end_time is None and isinstance(attributes, Mapping):
            super().set_attributes(
                {
                    key: known
                    for key, value in attributes.items()
                    if key in self._keys and (known := _known(value)) is not None
                }
            )

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is None:  # again is no mistake where nothing was recorded
            super().end(end_time)

    def update_name(self, name: str) -> None:
        if self.end_time is None:
            super().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Whether it failed, without the words."""
        code = status.status_code if isinstance(status, Status) else status
        if self.end_time is None and isinstance(code, StatusCode):
            super().set_status(code)

    def add_event(self, *_: Any, **__: Any) -> None:
        """Nothing that is billed is in an event."""

    def add_link(self, *_: Any, **__: Any) -> None:
        """Nor in a link."""

    def record_exception(self, *_: Any, **__: Any) -> None:
        """Nor in a stack trace, which is dear."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        # The SDK would ask the exception for its text, which may raise.
        if error is not None:
            self.set_status(StatusCode.ERROR)
        self.end()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied or sent to another process, it is what the application would have had."""
        return NonRecordingSpan, (self.get_span_context(),)


def _known(value: object) -> AnyValue | None:
    """In a form that the SDK takes without a word in the application's log; None for what cannot be told."""
    if isinstance(value, str | bool | int | float | bytes | None):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_known, value))
    if isinstance(value, Mapping):
        return {name: _known(one) for name, one in value.items() if isinstance(name, str) and name}
    try:
        return str(value)  # an identifier that is an object of its own, as a UUID is
    except Exception:
        return None


def own_context(span: trace.Span) -> SpanContext:
    """The identity under which a span is metered."""
    return span.own if isinstance(span, PrivateSpan) else span.get_span_context()


class PrivateTracer(Tracer):
    """In place of the API's no-op tracer, as long as there is no tracer provider."""

    def __init__(self, scope: InstrumentationScope, record: "Recording") -> None:
        self._scope = scope
        self._record = record
        self._nothing = NoOpTracer()

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,
        *_: Any,
        **__: Any,
    ) -> trace.Span:
        shown = self._nothing.start_span(name, context, kind, attributes, links, start_time).get_span_context()
        return self._private(name, shown, trace.get_current_span(context), context, kind, attributes, start_time)

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        parent = trace.get_current_span(context)
        with self._nothing.start_as_current_span(name, context, kind, attributes, links, start_time):
            # Whatever this version of the API makes the current context is what we show, too.
            shown = trace.get_current_span().get_span_context()
            span = self._private(name, shown, parent, context, kind, attributes, start_time)
            with trace.use_span(
                span,
                end_on_exit=end_on_exit,
                record_exception=record_exception,
                set_status_on_exception=set_status_on_exception,
            ):
                yield span

    def _private(
        self,
        name: str,
        shown: SpanContext,
        parent: trace.Span,
        context: Context | None,
        kind: SpanKind,
        attributes: Any,
        start_time: int | None,
    ) -> trace.Span:
        try:
            return self._record(
                name, shown, parent, context, kind, attributes, start_time, environment_resource(), self._scope
            )
        except Exception as error:
            complain("a span was not metered", error)
            return NonRecordingSpan(shown)


class Recording(Protocol):
    """Starts a private span."""

    def __call__(
        self,
        name: str,
        shown: SpanContext,
        parent: trace.Span,
        context: Context | None,
        kind: SpanKind,
        attributes: Any,
        start_time: int | None,
        resource: Resource,
        scope: InstrumentationScope | None,
        /,
    ) -> trace.Span: ...


@cache
def environment_resource() -> Resource:
    """What a tracer provider without arguments would have."""
    return Resource.create({})
