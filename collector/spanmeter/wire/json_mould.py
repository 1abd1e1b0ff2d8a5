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
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from spanmeter.usage.layouts import Layout
from spanmeter.wire.roles import MOST_FIXED_BYTES

_SHORT = 128
"""Texts that nobody reads are passed over by a search for their end where one was longer: what searches compares many
bytes at once, where a pattern goes from one to the next."""
_MOST_BRACKETED = 1_024

_TENANT = rb'([^"\\\0-\x1f]{1,256})'
_RESPONSE_ID = rb"([!#-\[\]-~]{1,256})"
_COUNT = rb"(0|[1-9]\d{0,6})"
_KINDS = {_TENANT: "stringValue", _RESPONSE_ID: "stringValue", _COUNT: "intValue"}
_UNREAD_SHORT = rb'[^"\\]{0,%d}+' % _SHORT
_STRING = rb'"(?:[^"\\]++|\\.)*+"'

_members = Decoder(dict[str, Raw]).decode
_items = Decoder(list[Raw]).decode
_BEFORE_MEMBER = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_AFTER_MEMBERS = re.compile(rb"\s*(?:\{\s*)?\}")
_BEFORE_ITEM = re.compile(rb"\s*[\[,]\s*")
_BRACKETS = re.compile(rb"[\[\]{}]|" + _STRING, re.DOTALL)
_NO_BACKSLASH_BEFORE = re.compile(rb'"(?<!\\")')
_BACKSLASHES_BEFORE = b'\\\\"'
_BACKSLASH = 0x5C


class UnusualError(Exception):
    """A span that is written as no mould can say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JsonMould:
    """`match` matches attributes, up to the first text to be passed over if there are `more`; each of these begins
    behind such a text. `pick` gives, of all groups, tenant and response id; then input and output, if the counts are
    just whole numbers for these (`has_usual_counts`). `fixed` is what all have in common, `passed_over` the places of
    long texts."""

    layout: Layout
    match: Callable[[bytes], Any]
    more: Sequence[Callable[[bytes, int], Any]]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    has_counts: bool
    has_usual_counts: bool
    counts_at: Mapping[str, int]
    fixed: Sequence[bytes]
    passed_over: frozenset[int]

    def groups(self, text: bytes) -> Sequence[bytes] | None:
        """None if the attributes do not fit."""
        match = self.match(text)
        if match is None:
            return None
        groups: tuple[bytes, ...] = match.groups()
        for match_next in self.more:
            match = match_next(text, _end_of_text(text, match.end()))
            if match is None:
                return None
            groups += match.groups()
        return groups


def json_mould_of(text: bytes, layout: Layout, compared: frozenset[str], others: Sequence[JsonMould]) -> JsonMould:
    """Of a span with these attributes. Long texts are passed over where they are in `others`, too, if these are the
    same in all that is fixed. Raises UnusualError."""
    own = dict.fromkeys(layout.count_places, _COUNT)
    if layout.tenant_at >= 0:
        own[layout.named.key] = _TENANT
    if layout.id_at >= 0:
        own[layout.form.id_key] = _RESPONSE_ID
    parts = _parts_of(text, own, compared)
    fixed = [text[begins:ends] for begins, ends in _between(parts, len(text))]
    passed_over = frozenset(at for at, part in enumerate(parts) if part.is_text and part.ends - part.begins > _SHORT)
    passed_over = passed_over.union(*[other.passed_over for other in others if other.fixed == fixed])
    if sum(map(len, fixed)) > MOST_FIXED_BYTES:
        raise UnusualError
    patterns = [re.escape(fixed[0])]
    for at, (part, behind) in enumerate(zip(parts, fixed[1:], strict=True)):
        if at in passed_over:
            patterns.append(re.escape(behind))
        else:
            patterns[-1] += part.pattern + re.escape(behind)
    patterns[-1] += b"()"  # for what there is not
    group_of = {key: at for at, key in enumerate([part.key for part in parts if part.key])}
    if group_of.keys() != own.keys():
        raise UnusualError
    compiled = [re.compile(b"(?s)" + pattern) for pattern in patterns]
    matches = [*[one.match for one in compiled[:-1]], compiled[-1].fullmatch]
    usual = layout.usual_counts
    tenant_key = layout.named.key if layout.tenant_at >= 0 else ""
    id_key = layout.form.id_key if layout.id_at >= 0 else ""
    made = JsonMould(
        layout=layout,
        match=matches[0],
        more=matches[1:],
        pick=itemgetter(*[group_of.get(key, len(own)) for key in (tenant_key, id_key, *(usual or ("", "")))]),
        has_counts=layout.read_counts is not None,
        has_usual_counts=bool(usual),
        counts_at={} if usual else {key: group_of[key] for key in layout.count_places},
        fixed=fixed,
        passed_over=passed_over,
    )
    if made.groups(text) is None:
        raise UnusualError
    return made


@dataclass(frozen=True, slots=True)
class _Part:
    """From where to where something stands that varies, and the pattern of that. `key` is that of an attribute that is
    read, `is_text` whether it is the inside of a text that nobody reads."""

    begins: int
    ends: int
    pattern: bytes
    key: str = ""
    is_text: bool = False


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
    members = _objects_members(text, begins, ends)
    if len(members) == 1:
        name, inner_begins, inner_ends = members[0]
        is_quoted = text[inner_begins : inner_begins + 1] == b'"'
        inside = inner_begins + is_quoted, inner_ends - is_quoted
        if pattern and _KINDS[pattern] == name:
            return _Part(*inside, pattern, key)
        if not pattern and is_quoted:
            return _Part(*inside, _UNREAD_SHORT, is_text=True)
    if pattern or ends - begins > _MOST_BRACKETED:
        raise UnusualError
    return _Part(begins, ends, _bracketed_like(text[begins:ends]))


def _between(parts: Sequence[_Part], end: int) -> list[tuple[int, int]]:
    """From where to where what is fixed stands, before, between and behind the parts."""
    return [*zip([0, *[part.ends for part in parts]], [*[part.begins for part in parts], end], strict=True)]


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


def _end_of_text(text: bytes, at: int) -> int:
    """Where the quotation mark stands that ends the text that goes on at `at`."""
    found = _NO_BACKSLASH_BEFORE.search(text, at)
    end = found.start() if found is not None else len(text)
    quote = text.find(_BACKSLASHES_BEFORE, at, end) + 2
    while quote >= 2:
        backslashes = 2
        while text[quote - backslashes - 1] == _BACKSLASH:
            backslashes += 1
        if backslashes % 2 == 0:
            return quote
        quote = text.find(_BACKSLASHES_BEFORE, quote, end) + 2
    return end


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
