"""Spans made in bulk."""

from dataclasses import fields

from spanmeter.usage.span import NOTHING_CAPTURED, Attributes, Scope, Span

# The setters of Span's slots, in the order of its fields. One field more or less there fails here, at import.
(
    _set_trace_id,
    _set_span_id,
    _set_parent_span_id,
    _set_parent_is_remote,
    _set_name,
    _set_start_ns,
    _set_end_ns,
    _set_is_error,
    _set_attributes,
    _set_resource,
    _set_scope,
    _set_captured,
) = (Span.__dict__[field.name].__set__ for field in fields(Span))

_new = object.__new__


def make_span(
    *,
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes,
    parent_is_remote: bool | None,
    name: str,
    start_ns: int,
    end_ns: int,
    is_error: bool,
    attributes: Attributes,
    resource: Attributes,
    scope: Scope,
) -> Span:
    """The same as Span(...), in 0.6 µs instead of 1.5 (CPython 3.11): a frozen dataclass sets each field by its name,
    and that was a fifth of all time spent on decoding LLM spans.
    """
    span = _new(Span)
    _set_trace_id(span, trace_id)
    _set_span_id(span, span_id)
    _set_parent_span_id(span, parent_span_id)
    _set_parent_is_remote(span, parent_is_remote)
    _set_name(span, name)
    _set_start_ns(span, start_ns)
    _set_end_ns(span, end_ns)
    _set_is_error(span, is_error)
    _set_attributes(span, attributes)
    _set_resource(span, resource)
    _set_scope(span, scope)
    _set_captured(span, NOTHING_CAPTURED)
    return span
