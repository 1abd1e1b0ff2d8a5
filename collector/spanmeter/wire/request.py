"""What a decoder hands on: the spans of interest, and the skeleton of all others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spanmeter.usage.layouts import EncodedSpans, WrittenSpans
from spanmeter.usage.span import LAST_NS, NO_PARENT_LINK, SPAN_ID_BYTES, TRACE_ID_BYTES, Span, pack_link

ZERO_TRACE_ID = bytes(TRACE_ID_BYTES)

_REASONS_NAMED = 3  # a message has to fit a log line, however many ways of being wrong a sender finds


@dataclass(slots=True)
class Rejections:
    """Counts the spans of one request that cannot be taken. Their ids and contents are not kept."""

    _reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str) -> None:
        self._reasons[reason] += 1

    @property
    def count(self) -> int:
        return self._reasons.total()

    @property
    def message(self) -> str:
        """For partial_success.error_message: "2 spans rejected: trace_id of 15 bytes instead of 16"."""
        if not self._reasons:
            return ""
        total = self.count
        named = sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))[:_REASONS_NAMED]
        words = [reason if len(self._reasons) == 1 else f"{reason} ({count})" for reason, count in named]
        rest = total - sum(count for _, count in named)
        if rest:
            words.append(f"other faults ({rest})")
        return f"{total} span{'' if total == 1 else 's'} rejected: {', '.join(words)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRequest:
    """One OTLP request, or one message of a file.

    `spans` carry at least one of the vocabulary's keys that contain a marker among their own attributes (their
    resource's do not count, nor do keys without a marker, though these are kept where a span has both). `encoded` are
    spans that may be like that, and were not looked into, `written` any in JSON: whoever does so adds to `rejections`;
    `decoded` is one.
    `links` has every other valid span as trace id, span id and parent's span id (zeros on a root span), LINK_BYTES
    each, end to end and in no order. `span_count` is all that were sent.
    """

    spans: Sequence[Span] = ()
    encoded: Sequence[EncodedSpans] = ()
    written: Sequence[WrittenSpans] = ()
    links: bytes = b""
    span_count: int = 0
    rejections: Rejections = field(default_factory=Rejections)

    @property
    def rejected(self) -> int:
        return self.rejections.count

    @property
    def rejection(self) -> str:
        """How many were rejected, and why; empty where none was."""
        return self.rejections.message

    def decoded(self) -> "DecodedRequest":
        """The same with nothing left in `encoded` and `written`. Raises MalformedError, naming the place."""
        spans, links = [*self.spans], [self.links]
        for group in self.encoded:
            scope = group.scope
            with group.reading():
                raw, passed = group.sifted(group.raw)
                links.append(passed)
                for row in group.rows(raw):
                    span = group.decoded(row, scope)
                    if span is not None:
                        spans.append(span)
                    else:
                        links.append(pack_link(*row[:3]))
        for some in self.written:
            with some.reading():
                found = [some.decoded(raw) for raw in some.raw]
            spans += [one for one in found if isinstance(one, Span)]
            links += [one for one in found if isinstance(one, bytes)]
        return replace(self, spans=spans, encoded=(), written=(), links=b"".join(links))


def id_fault(trace_id: bytes, span_id: bytes, parent_span_id: bytes) -> str:
    """Why a span with these ids cannot be taken; empty if it can. The parent's may be empty or all zero: no parent."""
    if len(trace_id) != TRACE_ID_BYTES:
        return f"trace_id of {len(trace_id)} bytes instead of {TRACE_ID_BYTES}"
    if len(span_id) != SPAN_ID_BYTES:
        return f"span_id of {len(span_id)} bytes instead of {SPAN_ID_BYTES}"
    if parent_span_id and len(parent_span_id) != SPAN_ID_BYTES:
        return f"parent_span_id of {len(parent_span_id)} bytes instead of {SPAN_ID_BYTES}"
    if trace_id == ZERO_TRACE_ID:
        return "trace_id all zero"
    if span_id == NO_PARENT_LINK:
        return "span_id all zero"
    return ""


def known_time(time_ns: int) -> int:
    """`time_ns`, or 0 (not known) where no clock can have said it: OTLP has 64 bits for it, every store of ours 63."""
    return time_ns if time_ns <= LAST_NS else 0
