"""The SDK's ended span as spanmeter's neutral one."""

from collections.abc import Mapping
from typing import cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from spanmeter.usage.span import NO_PARENT, Attributes, Scope, Span, Vocabulary


def neutral_span(span: ReadableSpan, vocabulary: Vocabulary) -> Span | None:
    """`span` with the vocabulary's attributes only; None for a span without a valid context."""
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
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        is_error=span.status.status_code is StatusCode.ERROR,
        attributes=_of_interest(span.attributes, vocabulary),
        resource=_of_interest(span.resource.attributes, vocabulary),
        scope=Scope(name=scope.name, version=scope.version or "") if scope is not None else Scope(),
    )


def _of_interest(attributes: Mapping[str, object] | None, vocabulary: Vocabulary) -> Attributes:
    if not attributes:
        return {}
    return cast(Attributes, {key: attributes[key] for key in attributes if key in vocabulary.keys})
