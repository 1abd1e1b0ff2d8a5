"""The SDK's ended span as spanmeter's neutral one."""

from collections.abc import Mapping
from math import isfinite
from typing import cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from spanmeter.usage.span import NO_PARENT, Attributes, Captured, Scope, Span, Vocabulary
from spanmeter.wire.request import known_time


def neutral_span(span: ReadableSpan, captured: Captured, vocabulary: Vocabulary) -> Span | None:
    """`span`, at whose start `captured` held, with the vocabulary's attributes only; None without a valid context."""
    context = span.context
    if context is None or not context.is_valid:
        return None
    parent = span.parent
    scope = span.instrumentation_scope
    return Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent is not None and parent.is_valid else NO_PARENT,
        parent_is_remote=parent.is_remote if parent is not None else None,
        name=span.name,
        start_ns=_time_ns(span.start_time),
        end_ns=_time_ns(span.end_time),
        is_error=span.status.status_code is StatusCode.ERROR,
        attributes=_of_interest(span.attributes, vocabulary),
        resource=_of_interest(span.resource.attributes, vocabulary),
        captured=captured,
        scope=Scope(name=str(_encodable(scope.name)), version=scope.version or "") if scope is not None else Scope(),
    )


def _of_interest(attributes: Mapping[str, object] | None, vocabulary: Vocabulary) -> Attributes:
    if not attributes:
        return {}
    return cast(Attributes, {key: _encodable(attributes[key]) for key in attributes if key in vocabulary.keys})


def _time_ns(time: object) -> int:
    """The SDK takes whatever an application gives as start or end: `time.time()` too, which is a float in seconds."""
    if isinstance(time, float):
        time = int(time) if isfinite(time) else 0
    return known_time(time) if isinstance(time, int) and time > 0 else 0


def _encodable(value: object) -> object:
    """Lone surrogates have no UTF-8: they are replaced, as the decoders of OTLP do."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return tuple(map(_encodable, value)) if isinstance(value, tuple) else value
