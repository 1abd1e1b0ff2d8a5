"""Where the plug-in listens: in the SDK's classes, so that every tracer provider of the process is heard.

A span processor hears less: not the spans that a sampler drops, not those of a provider that is made later, none once
the application has shut its provider down; and it would keep the application from setting a provider of its own.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, ProxyTracer, SpanContext, SpanKind

from spanmeter_instrumentation.complaints import complain
from spanmeter_instrumentation.context import capture, captured_by
from spanmeter_instrumentation.ended import Ended, Snapshot
from spanmeter_instrumentation.private_span import PrivateSpan, PrivateTracer, asking, own_context
from spanmeter_instrumentation.whole_attributes import watch, whole

log = logging.getLogger("spanmeter.plugin")


class Hooks:
    """Hands every span that ends in this process to `take`, on the thread that ends it.

    One of these may be installed at a time; once `removed`, the SDK is as it was.
    """

    def __init__(self, snapshot: Snapshot, take: Callable[[Ended], None]) -> None:
        self._snapshot = snapshot
        self._keys: Collection[str] = snapshot.keys
        self._take = take
        self._originals: list[tuple[type, str, Any]] = []

    def install(self) -> bool:
        """False, with all as it was, where the SDK is not as expected."""
        try:
            self._replace(Tracer, "start_span", self._start_span)
            self._replace(Span, "end", self._end)
            self._replace(ProxyTracer, "_tracer", self._proxied)
            if self._works():
                return True
            problem: Exception | None = None
        except Exception as error:  # whatever it is, the application must not meet it
            problem = error
        self.remove()
        log.debug("the SDK's classes are not as expected", exc_info=problem)
        return False

    def remove(self) -> None:
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)

    def _replace(self, owner: type, name: str, wrapper: Callable[[Any], Any]) -> None:
        original = owner.__dict__[name] if name in owner.__dict__ else getattr(owner, name)
        setattr(owner, name, wrapper(original))
        self._originals.append((owner, name, original))

    def _works(self) -> bool:
        """Whether spans come through, dropped ones and recorded ones: tried on providers that nobody else sees."""
        taken: list[Ended] = []
        take, self._take = self._take, taken.append
        try:
            for sampler in (ALWAYS_OFF, ALWAYS_ON):
                provider = TracerProvider(sampler=sampler, resource=Resource.get_empty(), shutdown_on_exit=False)
                provider.get_tracer("spanmeter").start_span("trial").end()
            if trace._TRACER_PROVIDER is None:  # else it would be a span of the application's
                ProxyTracer("spanmeter").start_span("trial").end()
                return len(taken) == 3
            return len(taken) == 2
        finally:
            self._take = take

    def _start_span(self, original: Any) -> Any:
        @functools.wraps(original)
        def start_span(
            tracer: Tracer,
            name: str,
            context: Context | None = None,
            kind: SpanKind = SpanKind.INTERNAL,
            attributes: Any = None,
            links: Any = (),
            start_time: int | None = None,
            *more: Any,
            **named: Any,
        ) -> trace.Span:
            asking.depth += 1
            try:
                span: trace.Span = original(tracer, name, context, kind, attributes, links, start_time, *more, **named)
            finally:
                asking.depth -= 1
            try:
                if isinstance(span, NonRecordingSpan):
                    return self.private_span(
                        name,
                        span.get_span_context(),
                        trace.get_current_span(context),
                        context,
                        kind,
                        attributes,
                        start_time,
                        tracer.resource,
                        tracer._instrumentation_scope,
                    )
                if isinstance(span, Span):
                    watch(span._attributes, attributes, self._keys)
                    capture(span, context)
            except Exception as error:  # a guest does not break its host
                complain("a span was not metered", error)
            return span

        return start_span

    def private_span(
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
    ) -> trace.Span:
        span = PrivateSpan(
            name, shown=shown, parent_span=parent, kind=kind, resource=resource, scope=scope, keys=self._keys
        )
        if attributes:
            span.set_attributes(attributes)
        capture(span, context)
        span.start(start_time)
        return span

    def _end(self, original: Any) -> Any:
        @functools.wraps(original)
        def end(span: Span, end_time: int | None = None) -> None:
            running = span.end_time is None
            before = self._before_processors(span) if running else {}
            try:
                original(span, end_time)
            finally:  # also where one of the application's processors raises
                if running and span.end_time is not None:
                    self._ended(span, before)

        return end

    def _before_processors(self, span: Span) -> Mapping[str, Any]:
        """The attributes before the application's processors: those may take away what others are not to see."""
        try:
            return whole(span._attributes)
        except Exception as error:  # a guest does not break its host
            complain("a span's attributes were read late", error)
            return {}

    def _ended(self, span: Span, before: Mapping[str, Any]) -> None:
        try:
            ended = self._snapshot.of(
                span,
                {**whole(span._attributes), **before},
                context=own_context(span),
                parent=span.own_parent if isinstance(span, PrivateSpan) else span.parent,
                captured=captured_by(span),
            )
            if ended is not None:
                self._take(ended)
        except Exception as error:  # a guest does not break its host
            complain("a span was not metered", error)

    def _proxied(self, original: Any) -> Any:
        def _tracer(proxy: ProxyTracer) -> trace.Tracer:
            tracer: trace.Tracer = original.fget(proxy)
            if tracer is not proxy._noop_tracer:
                return tracer
            try:
                scope = InstrumentationScope(
                    proxy._instrumenting_module_name, proxy._instrumenting_library_version, proxy._schema_url
                )
                return PrivateTracer(scope, self.private_span)
            except Exception as error:  # a guest does not break its host
                complain("spans without a tracer provider are not metered", error)
                return tracer

        return property(_tracer)
