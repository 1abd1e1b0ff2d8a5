"""One look at a span in JSON: a pattern made from a span of a known layout, that others like it match.

What such spans have in common stands in the pattern as it is, down to the spaces; of what each has of its own (ids,
times, counts, response id, tenant) it says where it stands, and what nobody reads is passed over. That all of it is
JSON was seen before: so a text ends at the next quotation mark that is not escaped, and a bracket where it is closed.
Values with escapes, or written as no exporter does, match nothing, and are decoded.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from spanmeter.usage.layouts import Layout
from spanmeter.usage.span import Span
from spanmeter.wire.roles import MOST_FIXED_BYTES

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
_TIMES = frozenset({"startTimeUnixNano", "endTimeUnixNano"})
_LISTS = frozenset({"events", "links"})
_TIME = rb"(0|[1-9]\d{0,18})"
_COUNT = rb"(0|[1-9]\d{0,6})"
_TENANT = rb'([^"\\\0-\x1f]{1,256})'
_RESPONSE_ID = rb"([!#-\[\]-~]{1,256})"
_NEITHER = ("", "")

_members = Decoder(dict[str, Raw]).decode
_items = Decoder(list[Raw]).decode
_BEFORE_MEMBER = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_AFTER_MEMBERS = re.compile(rb"\s*(?:\{\s*)?\}")
_BEFORE_ITEM = re.compile(rb"\s*[\[,]\s*")
_BRACKETS = re.compile(rb"[\[\]{}]|" + _STRING, re.DOTALL)


class UnusualError(Exception):
    """A span that is written as no mould can say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JsonMould:
    """`pick` gives, of all groups, trace id, span id, parent's, start, end, tenant and response id; then input and
    output, if the counts are just whole numbers for these (`has_usual_counts`)."""

    layout: Layout
    parent_is_remote: bool | None
    match: Callable[[bytes], Any]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    has_counts: bool
    has_usual_counts: bool
    counts_at: Mapping[str, int]


class _Writer:
    """Writes the pattern of a mould, and notes which group is what."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._pattern: list[bytes] = []
        self.fixed_bytes = 0
        self.group_of: dict[object, int] = {}

    def vary(self, begins: int, ends: int, pattern: bytes, name: object = None) -> None:
        """What stands there may be anything that the pattern matches, which has a group if it is given a name."""
        self._keep(begins)
        self._pattern.append(pattern)
        self._at = ends
        if name is not None:
            if name in self.group_of:
                raise UnusualError
            self.group_of[name] = len(self.group_of)

    def pass_over(self, begins: int, ends: int) -> None:
        if self._text[begins : begins + 1] in (b"{", b"["):
            self.vary(begins, ends, _bracketed_like(self._text[begins:ends]))

    def _keep(self, until: int) -> None:
        self._pattern.append(re.escape(self._text[self._at : until]))
        self.fixed_bytes += until - self._at

    def compiled(self) -> re.Pattern[bytes]:
        self._keep(len(self._text))
        return re.compile(b"(?s)" + b"".join(self._pattern) + b"()")  # the last is for what there is not


def json_mould_of(text: bytes, span: Span, layout: Layout, compared: frozenset[str]) -> JsonMould:
    """Of a span with this text. Raises UnusualError."""
    writer = _Writer(text)
    own = dict.fromkeys(layout.count_places, _COUNT)
    if layout.tenant_at >= 0:
        own[layout.named.key] = _TENANT
    if layout.id_at >= 0:
        own[layout.form.id_key] = _RESPONSE_ID
    for name, begins, ends in _objects_members(text, 0, len(text)):
        if name in _IDS and ends - begins > len('""'):
            digits = b"%d" % _IDS[name]
            writer.vary(begins, ends, rb'"(?!0{%b}")([0-9a-fA-F]{%b})"' % (digits, digits), name)
        elif name in _TIMES:
            writer.vary(*_inside(text, begins, ends), _TIME, name)
        elif name in _LISTS:
            writer.pass_over(begins, ends)
        elif name == "attributes":
            _write_attributes(writer, text, begins, ends, own, compared)
    if not {"traceId", "spanId", *_TIMES, *own} <= writer.group_of.keys():
        raise UnusualError
    pattern = writer.compiled()
    if writer.fixed_bytes > MOST_FIXED_BYTES or pattern.fullmatch(text) is None:
        raise UnusualError
    usual = layout.usual_counts
    tenant_key = layout.named.key if layout.tenant_at >= 0 else None
    id_key = layout.form.id_key if layout.id_at >= 0 else None
    wanted = ("traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano", tenant_key, id_key)
    nothing = len(writer.group_of)
    return JsonMould(
        layout=layout,
        parent_is_remote=span.parent_is_remote,
        match=pattern.fullmatch,
        pick=itemgetter(*[writer.group_of.get(name, nothing) for name in (*wanted, *(usual or _NEITHER))]),
        has_counts=layout.read_counts is not None,
        has_usual_counts=bool(usual),
        counts_at={} if usual else {key: writer.group_of[key] for key in layout.count_places},
    )


def _write_attributes(
    writer: _Writer, text: bytes, begins: int, ends: int, own: Mapping[str, bytes], compared: frozenset[str]
) -> None:
    keys: set[str] = set()
    for item_begins, item_ends in _array_items(text, begins, ends):
        members = {name: place for name, *place in _objects_members(text, item_begins, item_ends)}
        if members.keys() != {"key", "value"}:
            raise UnusualError
        key = _plain_text(text, *members["key"])
        if key in keys:
            raise UnusualError
        keys.add(key)
        value_begins, value_ends = members["value"]
        if key in compared:
            continue  # whatever else it is: an event's dimension may be a copy of it
        if key not in own:
            writer.pass_over(value_begins, value_ends)
            continue
        kind = "intValue" if own[key] is _COUNT else "stringValue"
        [(name, *place)] = _objects_members(text, value_begins, value_ends) or [("", 0, 0)]
        if name != kind:
            raise UnusualError
        writer.vary(*_inside(text, *place), own[key], key)


def _inside(text: bytes, begins: int, ends: int) -> tuple[int, int]:
    """Without quotation marks, if there are any."""
    return (begins + 1, ends - 1) if text[begins : begins + 1] == b'"' else (begins, ends)


def _plain_text(text: bytes, begins: int, ends: int) -> str:
    found = text[begins + 1 : ends - 1]
    if text[begins : begins + 1] != b'"' or b"\\" in found:
        raise UnusualError
    return found.decode("utf-8", "replace")


def _objects_members(text: bytes, begins: int, ends: int) -> list[tuple[str, int, int]]:
    """Name, and from where to where the value stands, of each member of the object that stands there."""
    if text[begins : begins + 1] != b"{":
        raise UnusualError
    found = []
    at = begins
    for name, value in _members(text[begins:ends]).items():
        before, raw = _BEFORE_MEMBER.match(text, at, ends), bytes(value)
        if before is None or before[1] != name.encode() or not text.startswith(raw, before.end()):
            raise UnusualError  # a name with escapes, or one that comes again
        at = before.end() + len(raw)
        found.append((name, before.end(), at))
    if _AFTER_MEMBERS.fullmatch(text, at, ends) is None:
        raise UnusualError
    return found


def _array_items(text: bytes, begins: int, ends: int) -> list[tuple[int, int]]:
    if text[begins : begins + 1] != b"[":
        raise UnusualError
    found = []
    at = begins
    for value in _items(text[begins:ends]):
        before, raw = _BEFORE_ITEM.match(text, at, ends), bytes(value)
        assert before is not None
        at = before.end() + len(raw)
        found.append((before.end(), at))
    return found


def _bracketed_like(text: bytes) -> bytes:
    """Matches whatever is bracketed no deeper than `text`."""
    depth = deepest = 0
    for found in _BRACKETS.findall(text):
        depth += (found in b"[{") - (found in b"]}")
        deepest = max(deepest, depth)
    inside = rb'(?:[^\[\]{}"]++|%b)*+' % _STRING
    for _ in range(deepest - 1):
        inside = rb'(?:[^\[\]{}"]++|%b|[\[{]%b[\]}])*+' % (_STRING, inside)
    return rb"[\[{]%b[\]}]" % inside
