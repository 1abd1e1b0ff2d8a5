"""What an application's context says about who pays, kept from a span's start until its end."""

from collections import OrderedDict
from typing import Final, cast

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan

from spanmeter.binding import bound
from spanmeter.usage.span import NOTHING_CAPTURED, Attributes, Captured

MOST_OPEN: Final = 100_000
"""Spans that may be remembered at once: some are never ended."""


def captured(parent_context: Context | None) -> Captured:
    """What holds here and now. Two look-ups: cheap enough for every span."""
    held, carried = bound(), baggage.get_all(parent_context)
    return Captured(held, cast(Attributes, carried)) if held is not None or carried else NOTHING_CAPTURED


class OpenSpans:
    """What was captured for each span that has not ended. Thread-safe; of too many the oldest is forgotten."""

    def __init__(self) -> None:
        self._captured: OrderedDict[tuple[int, int], Captured] = OrderedDict()

    def started(self, span: ReadableSpan, parent_context: Context | None) -> None:
        """Called at the start of a span, in the context in which it starts."""
        found = captured(parent_context)
        if not found or span.context is None:
            return
        above = trace.get_current_span(parent_context).get_span_context()
        theirs = self._captured.get((above.trace_id, above.span_id))
        if found.bound is not None and theirs is not None and theirs.bound is found.bound:
            found = found._replace(bound_above=True)
        self._captured[span.context.trace_id, span.context.span_id] = found
        if len(self._captured) > MOST_OPEN:
            self._captured.popitem(last=False)

    def ended(self, span: ReadableSpan) -> Captured:
        """What was captured at the start of `span`, which is forgotten now."""
        if not self._captured or span.context is None:
            return NOTHING_CAPTURED
        return self._captured.pop((span.context.trace_id, span.context.span_id), NOTHING_CAPTURED)
