"""One look at a span in JSON: a pattern made from a span of a known layout, that others like it match.

What such spans have in common stands in the pattern as it is, down to the spaces; of what each has of its own (ids,
times, counts, response id, tenant) it says where it stands, and what nobody reads is passed over. That all of it is
JSON was seen before: so a text ends at the next quotation mark that is not escaped, and a bracket where it is closed.
Values with escapes, or written as no exporter does, match nothing, and are decoded.
"""

import re
from binascii import unhexlify
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from spanmeter.usage.layouts import Layout
from spanmeter.usage.named import tenant_of
from spanmeter.usage.packing import Row
from spanmeter.usage.span import NO_PARENT, Span, pack_link
from spanmeter.wire.moulds import MOST_ALIKE, MOST_MOULDS, MOST_PARSED, MOST_TENANTS, WORTH_SPANS
from spanmeter.wire.request import known_time
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
_NAME = re.compile(rb'"name"\s*:\s*"[^"\\]*"')
_BEFORE_MEMBER = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_AFTER_MEMBERS = re.compile(rb"\s*(?:\{\s*)?\}")
_BEFORE_ITEM = re.compile(rb"\s*[\[,]\s*")
_BRACKETS = re.compile(rb"[\[\]{}]|" + _STRING, re.DOTALL)


class _UnusualError(Exception):
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


class JsonMoulds:
    """Of a scope, by the first thing that looks like a name. Many threads may use them: what is tried is replaced,
    never changed."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, tuple[JsonMould, ...]] = {}
        self._seen: dict[bytes, int] = {}
        self._tried = 0
        self._parsed = 0
        self._tenants: dict[bytes, str] = {}

    def take(
        self,
        spans: Sequence[bytes],
        *,
        numbers: Mapping[Layout, int | None],
        rows: MutableSequence[Row],
        links: MutableSequence[bytes],
        received_ns: int,
    ) -> Sequence[bytes]:
        by_name, tenants, name_of = self._by_name, self._tenants, _NAME.search
        if not by_name:
            return spans
        others: list[bytes] = []
        for raw in spans:
            name = name_of(raw)
            match = None
            for mould in by_name.get(name[0], ()) if name is not None else ():
                match = mould.match(raw)
                if match is not None:
                    break
            if match is None:
                others.append(raw)
                continue
            groups = match.groups()
            trace_id, span_id, parent_id, start, end, named, response_id, input_, output = mould.pick(groups)
            tenant, counts = "", None
            if named:
                tenant = tenants.get(named) or self._tenant(named)
            if mould.has_usual_counts:
                input_tokens, output_tokens = int(input_), int(output)
                if input_tokens or output_tokens:
                    counts = (input_tokens, 0, 0, output_tokens, 0)
            elif mould.has_counts:
                assert mould.layout.read_counts is not None
                counts = mould.layout.read_counts({key: int(groups[at]) for key, at in mould.counts_at.items()})
            if (named and not tenant) or (counts is None and mould.has_counts):
                others.append(raw)
                continue
            number = numbers[mould.layout]
            if number is None:
                links.append(pack_link(unhexlify(trace_id), unhexlify(span_id), unhexlify(parent_id)))
                continue
            start_ns = known_time(int(start))
            rows.append(
                (
                    number,
                    unhexlify(trace_id),
                    unhexlify(span_id),
                    unhexlify(parent_id) if parent_id else NO_PARENT,
                    mould.parent_is_remote,
                    start_ns,
                    known_time(int(end)) or start_ns or received_ns,
                    tenant,
                    response_id.decode(),
                    counts,
                )
            )
        return others

    def _tenant(self, text: bytes) -> str:
        tenant = tenant_of(text.decode("utf-8", "replace"))
        if tenant and len(self._tenants) < MOST_TENANTS:
            self._tenants[text] = tenant
        return tenant

    def is_worth(self, raw: bytes) -> bool:
        self._parsed += 1
        if self._parsed > MOST_PARSED:
            self._by_name, self._seen = {}, {}
            self._tried = self._parsed = 0
        name = _NAME.search(raw)
        if name is None:
            return False
        seen = self._seen.get(name[0], 0) + 1
        if len(self._seen) >= MOST_MOULDS:
            self._seen.clear()
        self._seen[name[0]] = seen % WORTH_SPANS
        return seen >= WORTH_SPANS and self._tried < MOST_MOULDS and len(self._by_name.get(name[0], ())) < MOST_ALIKE

    def learn(self, raw: bytes, span: Span, layout: Layout, compared: frozenset[str]) -> None:
        text = bytes(raw)
        name = _NAME.search(text)
        assert name is not None
        self._tried += 1
        try:
            made = _mould_of(text, span, layout, compared)
        except _UnusualError:
            return
        self._by_name[name[0]] = (made, *self._by_name.get(name[0], ()))


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
                raise _UnusualError
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


def _mould_of(text: bytes, span: Span, layout: Layout, compared: frozenset[str]) -> JsonMould:
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
        raise _UnusualError
    pattern = writer.compiled()
    if writer.fixed_bytes > MOST_FIXED_BYTES or pattern.fullmatch(text) is None:
        raise _UnusualError
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
            raise _UnusualError
        key = _plain_text(text, *members["key"])
        if key in keys:
            raise _UnusualError
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
            raise _UnusualError
        writer.vary(*_inside(text, *place), own[key], key)


def _inside(text: bytes, begins: int, ends: int) -> tuple[int, int]:
    """Without quotation marks, if there are any."""
    return (begins + 1, ends - 1) if text[begins : begins + 1] == b'"' else (begins, ends)


def _plain_text(text: bytes, begins: int, ends: int) -> str:
    found = text[begins + 1 : ends - 1]
    if text[begins : begins + 1] != b'"' or b"\\" in found:
        raise _UnusualError
    return found.decode("utf-8", "replace")


def _objects_members(text: bytes, begins: int, ends: int) -> list[tuple[str, int, int]]:
    """Name, and from where to where the value stands, of each member of the object that stands there."""
    if text[begins : begins + 1] != b"{":
        raise _UnusualError
    found = []
    at = begins
    for name, value in _members(text[begins:ends]).items():
        before, raw = _BEFORE_MEMBER.match(text, at, ends), bytes(value)
        if before is None or before[1] != name.encode() or not text.startswith(raw, before.end()):
            raise _UnusualError  # a name with escapes, or one that comes again
        at = before.end() + len(raw)
        found.append((name, before.end(), at))
    if _AFTER_MEMBERS.fullmatch(text, at, ends) is None:
        raise _UnusualError
    return found


def _array_items(text: bytes, begins: int, ends: int) -> list[tuple[int, int]]:
    if text[begins : begins + 1] != b"[":
        raise _UnusualError
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
