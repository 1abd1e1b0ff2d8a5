"""One look at the attributes of a span in JSON: a pattern made from a span of a known layout, that others match.

What such spans have in common stands in the pattern as it is, down to the spaces; of what each has of its own (counts,
response id, tenant) it says where it stands, and what nobody reads is passed over. That all of it is JSON was seen
before: so a text ends at the next quotation mark that is not escaped, and a bracket where it is closed. Values with
escapes where one is read, or written as no exporter does, match nothing, and are decoded.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.json import Decoder

from spanmeter.usage.layouts import Layout

_TENANT = rb'([^"\\\0-\x1f]{1,256})'
_RESPONSE_ID = rb"([!#-\[\]-~]{1,256})"
_COUNT = rb"(0|[1-9]\d{0,6})"
_KINDS = {_TENANT: "stringValue", _RESPONSE_ID: "stringValue", _COUNT: "intValue"}
_STRING = rb'"(?:[^"\\]++|\\.)*+"'

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
    """`match` matches attributes. `pick` gives, of all groups, tenant and response id; then input and output, if the
    counts are just whole numbers for these (`has_usual_counts`). `fixed` is what all have in common."""

    layout: Layout
    match: Callable[[bytes], Any]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    has_counts: bool
    has_usual_counts: bool
    counts_at: Mapping[str, int]
    fixed: Sequence[bytes]


def json_mould_of(text: bytes, layout: Layout, compared: frozenset[str]) -> JsonMould:
    """Of a span with these attributes. Raises UnusualError."""
    own = dict.fromkeys(layout.count_places, _COUNT)
    if layout.tenant_at >= 0:
        own[layout.named.key] = _TENANT
    if layout.id_at >= 0:
        own[layout.form.id_key] = _RESPONSE_ID
    parts = _parts_of(text, own, compared)
    fixed = [text[begins:ends] for begins, ends in _between(parts, len(text))]
    pattern = re.escape(fixed[0])
    for part, behind in zip(parts, fixed[1:], strict=True):
        pattern += part.pattern + re.escape(behind)
    match = re.compile(b"(?s)" + pattern + b"()").fullmatch  # the last group is for what there is not
    group_of = {key: at for at, key in enumerate([part.key for part in parts if part.key])}
    if group_of.keys() != own.keys() or match(text) is None:
        raise UnusualError
    usual = layout.usual_counts
    tenant_key = layout.named.key if layout.tenant_at >= 0 else ""
    id_key = layout.form.id_key if layout.id_at >= 0 else ""
    return JsonMould(
        layout=layout,
        match=match,
        pick=itemgetter(*[group_of.get(key, len(own)) for key in (tenant_key, id_key, *(usual or ("", "")))]),
        has_counts=layout.read_counts is not None,
        has_usual_counts=bool(usual),
        counts_at={} if usual else {key: group_of[key] for key in layout.count_places},
        fixed=fixed,
    )


class _Part(NamedTuple):
    """From where to where something stands that varies, its pattern, and the key of an attribute that is read."""

    begins: int
    ends: int
    pattern: bytes
    key: str = ""


def _parts_of(text: bytes, own: Mapping[str, bytes], compared: frozenset[str]) -> list[_Part]:
    parts: list[_Part] = []
    keys: set[str] = set()
    for begins, ends in _array_items(text):
        members = {name: (begin, end) for name, begin, end in _objects_members(text, begins, ends)}
        if members.keys() != {"key", "value"}:
            raise UnusualError
        key_begins, key_ends = members["key"]
        key = text[key_begins + 1 : key_ends - 1].decode("utf-8", "replace")
        if text[key_begins : key_begins + 1] != b'"' or "\\" in key or key in keys:
            raise UnusualError
        keys.add(key)
        if key not in compared:  # else it is fixed, whatever else it is: an event's dimension may be a copy of it
            parts.append(_value(text, *members["value"], key=key, pattern=own.get(key, b"")))
    return parts


def _value(text: bytes, begins: int, ends: int, *, key: str, pattern: bytes) -> _Part:
    """Of an attribute that is read by this pattern, or that nobody reads if it is empty."""
    if not pattern:
        return _Part(begins, ends, _bracketed_like(text[begins:ends]))
    members = _objects_members(text, begins, ends)
    if len(members) != 1 or members[0][0] != _KINDS[pattern]:
        raise UnusualError
    _, begins, ends = members[0]
    is_quoted = text[begins : begins + 1] == b'"'
    return _Part(begins + is_quoted, ends - is_quoted, pattern, key)


def _between(parts: Sequence[_Part], end: int) -> list[tuple[int, int]]:
    """From where to where what is fixed stands, before, between and behind the parts."""
    return [*zip([0, *[part.ends for part in parts]], [*[part.begins for part in parts], end], strict=True)]


def _bracketed_like(text: bytes) -> bytes:
    """Matches whatever is bracketed no deeper than `text`."""
    depth = deepest = 0
    for found in _BRACKETS.findall(text):
        depth += (found in b"[{") - (found in b"]}")
        deepest = max(deepest, depth)
    if not deepest:
        raise UnusualError
    inside = rb'(?:[^\[\]{}"]++|%b)*+' % _STRING
    for _ in range(deepest - 1):
        inside = rb'(?:[^\[\]{}"]++|%b|[\[{]%b[\]}])*+' % (_STRING, inside)
    return rb"[\[{]%b[\]}]" % inside


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


def _array_items(text: bytes) -> list[tuple[int, int]]:
    found = []
    at = 0
    for value in _items(text):
        before, raw = _BEFORE_ITEM.match(text, at), bytes(value)
        assert before is not None
        at = before.end() + len(raw)
        found.append((before.end(), at))
    return found
