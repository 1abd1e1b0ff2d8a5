"""What is kept of a span when it ends: taken on the application's thread, made spanmeter's own span on another."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, StatusCode

from spanmeter.usage.span import NO_PARENT, NOTHING_CAPTURED, Attributes, Captured, Scope, Span, Vocabulary, pack_link
from spanmeter.wire.interest import interest_of
from spanmeter.wire.request import known_time


@dataclass(slots=True, eq=False)
class EndedSpan:
    """A span that may matter: references only, and of its attributes those that some rule reads.

    Copied on the application's thread, so that prompts are let go of when the application lets go of them, and nobody
    who rewrites spans on the way to an exporter rewrites a bill.
    """

    context: SpanContext
    parent: SpanContext | None
    name: str
    start_time: object
    end_time: object
    is_error: bool
    attributes: Mapping[str, object]
    resource: Resource
    scope: InstrumentationScope | None
    captured: Captured = NOTHING_CAPTURED
    """What held when the span started: tenant and dimensions bound in code, and baggage."""


Ended = EndedSpan | bytes
"""A span, or the link (trace id, span id, parent's span id) of one that matters as an ancestor at most."""


class Snapshot:
    """Takes from spans what a vocabulary wants."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.keys = vocabulary.keys
        self._interesting = interest_of(vocabulary).keys

    def of(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, object],
        *,
        context: SpanContext | None,
        parent: SpanContext | None,
        captured: Captured = NOTHING_CAPTURED,
    ) -> Ended | None:
        """None for a span without valid ids. `attributes` need not be restricted to the vocabulary."""
        if context is None or not context.is_valid:
            return None
        wanted = self.keys.intersection(attributes)
        says_who_pays = captured.bound is not None and not captured.bound_above
        if not says_who_pays and self._interesting.isdisjoint(wanted):
            return pack_link(
                context.trace_id.to_bytes(16, "big"),
                context.span_id.to_bytes(8, "big"),
                parent.span_id.to_bytes(8, "big") if parent is not None else NO_PARENT,
            )
        return EndedSpan(
            context,
            parent,
            span.name,
            span.start_time,
            span.end_time,
            span.status.status_code is StatusCode.ERROR,
            {key: attributes[key] for key in wanted},
            span.resource,
            span.instrumentation_scope,
            captured,
        )

    def neutral(self, ended: EndedSpan) -> Span:
        """As the rules see it."""
        context, parent, scope = ended.context, ended.parent, ended.scope
        return Span(
            trace_id=context.trace_id.to_bytes(16, "big"),
            span_id=context.span_id.to_bytes(8, "big"),
            parent_span_id=parent.span_id.to_bytes(8, "big") if parent is not None and parent.is_valid else NO_PARENT,
            parent_is_remote=parent.is_remote if parent is not None else None,
            name=str(_encodable(ended.name)),
            start_ns=_time_ns(ended.start_time),
            end_ns=_time_ns(ended.end_time),
            is_error=ended.is_error,
            attributes=_encodable_values(ended.attributes),
            resource=_encodable_values(
                {key: value for key, value in ended.resource.attributes.items() if key in self.keys}
            ),
            scope=Scope(name=str(_encodable(scope.name)), version=scope.version or "")
            if scope is not None
            else Scope(),
            captured=ended.captured,
        )


def _encodable_values(attributes: Mapping[str, object]) -> Attributes:
    return cast(Attributes, {key: _encodable(value) for key, value in attributes.items()})


def _time_ns(time: object) -> int:
    """The SDK takes whatever an application gives as start or end: `time.time()` too, which is a float in seconds."""
    if isinstance(time, float):
        time = int(time) if isfinite(time) else 0
    return known_time(time) if isinstance(time, int) and time > 0 else 0


def _encodable(value: object) -> object:
    """Lone surrogates have no UTF-8: they are replaced, as the decoders of OTLP do."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return tuple(map(_encodable, value)) if isinstance(value, tuple | list) else value
