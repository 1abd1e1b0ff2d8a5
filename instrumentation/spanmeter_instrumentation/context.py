"""What an application's context says about who pays, kept from a span's start until its end."""

from typing import Final, cast

from opentelemetry import baggage, trace
from opentelemetry.context import Context

from spanmeter.binding import bound
from spanmeter.usage.span import NOTHING_CAPTURED, Attributes, Captured

_CAPTURED: Final = "_spanmeter_captured"
"""Where a span keeps it: as long as the span lives, and no longer."""


def captured(parent_context: Context | None) -> Captured:
    """What holds here and now. Two look-ups where nothing does: cheap enough for every span."""
    held, carried = bound(), baggage.get_all(parent_context)
    if held is None and not carried:
        return NOTHING_CAPTURED
    above = captured_by(trace.get_current_span(parent_context))
    return Captured(held, cast(Attributes, carried), held is not None and above.bound is held)


def capture(span: trace.Span, parent_context: Context | None) -> None:
    """Keep what holds now with `span`, which has just started in this context."""
    if found := captured(parent_context):
        setattr(span, _CAPTURED, found)


def captured_by(span: trace.Span) -> Captured:
    """What was kept when `span` started."""
    return cast(Captured, getattr(span, _CAPTURED, NOTHING_CAPTURED))
