"""One look at all the bytes of a span: a pattern made from a span of a known layout, that others like it match.

What such spans have in common stands in the pattern as it is; of what each has of its own (ids, times, counts, response
id, tenant) it says where it stands, and texts that nobody reads are passed over by their length. A match costs a tenth
of parsing the span and looking up its attributes.

It is a parse: protobuf's fields follow each other, each with its length. A field that is matched literally, or is of a
fixed length, ends where the next begins; a text of any length is taken only if the lengths that stand before it agree
with where it was found to end. What is not certain matches no mould, and is parsed.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import itemgetter
from typing import Any, NamedTuple

from spanmeter.usage.layouts import Layout, Token
from spanmeter.usage.packing import Counts
from spanmeter.wire.varint import Varints, read_varint, varint_at

_TRACE_ID, _SPAN_ID, _PARENT, _START, _END, _ATTRIBUTE = 0x0A, 0x12, 0x22, 0x39, 0x41, 0x4A  # tags of a span's fields
_EVENT, _LINK = 0x5A, 0x6A
_ID_BYTES = {_TRACE_ID: 16, _SPAN_ID: 8, _PARENT: 8}
_KEY = b"\n"
_VALUE_TAG, _STRING_TAG, _INT_TAG = b"\x12", b"\n", b"\x18"
MOST_FIXED_BYTES = 4_096
"""A pattern of more takes long to make, and what is so long does not come again."""
_MOST_BYTES = 0x7F  # of what has its length in one byte
_COUNT_BYTES = (1, 2, 3)
_NEITHER = ("", "")
_TIMES_BYTES = 18
_OVERHEAD = 4  # of a text: tag and length of the value, and of the string in it


class Role(Enum):
    TRACE_ID = auto()
    SPAN_ID = auto()
    PARENT = auto()
    TIMES = auto()
    TENANT = auto()
    RESPONSE_ID = auto()
    COUNT = auto()
    UNREAD = auto()  # an attribute by whose value nobody tells spans apart, an event or a link: it may vary
    FIXED = auto()


class Part(NamedTuple):
    """A field, or two. `text` is all of it where it is fixed or unread, else what comes before what varies. `head` is
    an attribute's beginning: tag, length and the text of its key."""

    role: Role
    text: bytes
    head: bytes = b""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mould:
    """`match` matches a span, up to the length of the first text to be passed over if there are `more`; each of these
    begins behind such a text and is preceded by the least length that it must have. `pick` gives, of all groups, trace
    id, span id, parent's, start and end, tenant, and the response id with what stands before it; then, if the counts
    are just whole numbers for input and output (`has_usual_counts`), these."""

    layout: Layout
    parent_is_remote: bool | None
    match: Callable[[bytes], Any]
    more: Sequence[tuple[int, Callable[[bytes, int], Any]]]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    id_heads: Sequence[bytes]
    is_whole: bool
    has_counts: bool
    has_usual_counts: bool
    counts_at: Mapping[str, int]
    parts: Sequence[Part]
    passed_over: frozenset[int]

    def groups(self, raw: bytes, match: Any) -> Sequence[bytes] | None:
        """All groups, where there are `more`; None if the span does not fit after all."""
        groups: tuple[bytes, ...] = match.groups()
        for least, match_next in self.more:
            length = read_varint(groups[-1])
            at = match.end() + length
            if length < least or at > len(raw):
                return None
            match = match_next(raw, at)
            if match is None:
                return None
            groups += match.groups()
        return groups

    def counts(self, groups: Sequence[bytes], varints: Varints) -> Counts | None:
        """Where they are read by the layout's rule."""
        assert self.layout.read_counts is not None
        return self.layout.read_counts({key: varints[groups[at]] for key, at in self.counts_at.items()})


def parts_of(raw: bytes, layout: Layout, tokens: Sequence[Token]) -> list[Part] | None:
    """The parts of a span of this layout whose attributes have these `tokens`; None if it cannot be a mould."""
    fields = _fields(raw)
    if fields is None:
        return None
    keys_at = {at: key for key, at in layout.count_places.items()}
    parts: list[Part] = []
    number = -1
    for field in fields:
        tag = field[0]
        if tag in _ID_BYTES:
            if field[1] != _ID_BYTES[tag] or len(field) != 2 + field[1]:
                return None
            role = {_TRACE_ID: Role.TRACE_ID, _SPAN_ID: Role.SPAN_ID, _PARENT: Role.PARENT}[tag]
            parts.append(Part(role, field[:2]))
        elif tag == _START:
            parts.append(Part(Role.TIMES, field[:1]))
        elif tag == _END:
            if not parts or parts[-1] != Part(Role.TIMES, bytes((_START,))):
                return None
            parts[-1] = Part(Role.TIMES, bytes((_START, _END)))
        elif tag == _ATTRIBUTE:
            number += 1
            part = _attribute(field, number, layout, tokens[number], keys_at.get(number, ""))
            if part is None:
                return None
            parts.append(part)
        else:
            parts.append(Part(Role.UNREAD if tag in (_EVENT, _LINK) else Role.FIXED, field))
    single = single_ones(parts)
    fixed_bytes = sum(len(part.text) for at, part in enumerate(parts) if at not in single)
    roles = Counter(part.role for part in parts)
    is_whole = (
        number + 1 == len(tokens)
        and roles[Role.TRACE_ID] == roles[Role.SPAN_ID] == roles[Role.TIMES] == 1
        and Part(Role.TIMES, bytes((_START, _END))) in parts
        and roles[Role.PARENT] <= 1
        and roles[Role.TENANT] == (layout.tenant_at >= 0)
        and roles[Role.RESPONSE_ID] == (layout.id_at >= 0)
        and roles[Role.COUNT] == len(keys_at)
        and fixed_bytes <= MOST_FIXED_BYTES
    )
    return parts if is_whole else None


def _attribute(field: bytes, number: int, layout: Layout, token: Token, count_key: str) -> Part | None:
    length = varint_at(field, 1)
    assert length is not None
    is_short = length[1] == 2
    attribute = field[length[1] :]
    head = attribute[: attribute[1] + 2] if len(attribute) > 1 else b""
    is_usual = attribute[:1] == _KEY and len(head) == attribute[1] + 2 <= _MOST_BYTES
    value = attribute[len(head) :]
    if number in (layout.tenant_at, layout.id_at):
        text = value[_OVERHEAD:]
        if not is_usual or not is_short or value[:4] != _text_beginning(len(text)):
            return None
        return Part(Role.TENANT if number == layout.tenant_at else Role.RESPONSE_ID, field[:1], head)
    if count_key:
        if not is_usual or len(head) > _MOST_BYTES - 3 - _COUNT_BYTES[-1] or not is_short or not _is_count(value):
            return None
        return Part(Role.COUNT, field[:1], head, count_key)
    return Part(Role.UNREAD if is_usual and not isinstance(token, bytes) else Role.FIXED, field, head)


def _is_count(value: bytes) -> bool:
    """A number that is not negative, of the usual length, and nothing else."""
    size = len(value) - 3
    return size in _COUNT_BYTES and value[:3] == _VALUE_TAG + bytes((size + 1,)) + _INT_TAG


def _text_beginning(length: int) -> bytes:
    return _VALUE_TAG + bytes((length + 2,)) + _STRING_TAG + bytes((length,)) if length + 2 <= _MOST_BYTES else b""


def made_alike(parts: Sequence[Part], others: Sequence[Part]) -> frozenset[int] | None:
    """Where the two have unread attributes with different values; None if they are different in anything else."""
    if len(parts) != len(others):
        return None
    different = [at for at, (one, other) in enumerate(zip(parts, others, strict=True)) if one != other]
    for at in different:
        one, other = parts[at], others[at]
        if one.role is not Role.UNREAD or other.role is not Role.UNREAD or one.head != other.head:
            return None
    return frozenset(different)


def single_ones(parts: Sequence[Part]) -> frozenset[int]:
    """Unread parts that no two spans will have the same: long texts, and events and links, with their times and ids."""
    return frozenset(
        at
        for at, part in enumerate(parts)
        if part.role is Role.UNREAD and (not part.head or len(part.text) > _MOST_BYTES)
    )


def opening_of(parts: Sequence[Part], passed_over: frozenset[int]) -> tuple[int, bytes]:
    """What spans have in common from behind their times up to the first thing that is a span's own, and how far behind
    the name it begins. Nothing, if what stands between name and times is of no fixed length."""
    is_fixed = [
        part.role is Role.FIXED or (part.role is Role.UNREAD and at not in passed_over) for at, part in enumerate(parts)
    ]
    times = next(at for at, part in enumerate(parts) if part.role is Role.TIMES)
    name = next((at for at in range(times) if parts[at].text[:1] == b"*" and is_fixed[at]), times)
    if not all(is_fixed[name:times]) or name == times:
        return 0, b""
    end = next((at for at in range(times + 1, len(parts)) if not is_fixed[at]), len(parts))
    between = sum(len(part.text) for part in parts[name + 1 : times])
    return between + _TIMES_BYTES, b"".join([part.text for part in parts[times + 1 : end]])


class _Writer:
    """Writes the patterns of a mould, and notes which group is what."""

    def __init__(self) -> None:
        self.patterns: list[tuple[int, bytes]] = []
        self.group_of: dict[object, int] = {}
        self._groups = 0
        self._text = b""
        self._least = 0

    def write(self, text: bytes, *groups: object) -> None:
        self._text += text
        for group in groups:
            self.group_of[group] = self._groups
            self._groups += 1

    def end(self, least: int = 0) -> None:
        """What follows is in a pattern of its own, behind a text of at least so many bytes."""
        self.patterns.append((self._least, self._text))
        self._text, self._least = b"", least


def mould_of(
    parts: Sequence[Part], layout: Layout, passed_over: frozenset[int], *, parent_is_remote: bool | None
) -> Mould:
    usual = layout.usual_counts
    wanted = usual or tuple(layout.count_places)
    writer = _Writer()
    id_heads: Sequence[bytes] = ()
    for at, part in enumerate(parts):
        text, head = re.escape(part.text), re.escape(part.head)
        most = _MOST_BYTES - len(part.head) - _OVERHEAD
        match part.role:
            case Role.TRACE_ID | Role.SPAN_ID | Role.PARENT:
                size = part.text[1]
                writer.write(b"%b(?!\\0{%d})(.{%d})" % (text, size, size), part.role)
            case Role.TIMES:
                writer.write(b"9(.{8}A.{8})", part.role)
            case Role.TENANT:
                writer.write(b"%b([\\0-\\x7f]%b\x12.\n.[^\\0-\x1f]{1,%d})" % (text, head, most), part.role)
            case Role.RESPONSE_ID:
                writer.write(b"%b(.%b\x12.\n.)([!-~]{1,%d})" % (text, head, most), "before the id", part.role)
                id_heads = _heads_by_length(part.head)
            case Role.COUNT:
                number = b"([\\x80-\xff]{0,2}[\\0-\\x7f])" if part.key in wanted else b"[\\x80-\xff]{0,2}[\\0-\\x7f]"
                writer.write(text + _count_beginnings(part.head) + number, *[part.key] * (part.key in wanted))
            case Role.UNREAD if at in passed_over:
                writer.write(b"%b([\\x80-\xff]{0,3}[\\0-\\x7f])(?=%b)" % (part.text[:1], head), at)
                writer.end(len(part.head))
            case Role.UNREAD | Role.FIXED:
                writer.write(text)
    writer.write(b"()", "none")  # for what there is not
    writer.end()
    last = len(writer.patterns) - 1
    compiled = [re.compile(b"(?s)" + text) for _, text in writer.patterns]
    matches = [one.fullmatch if at == last else one.match for at, one in enumerate(compiled)]
    roles = (Role.TRACE_ID, Role.SPAN_ID, Role.PARENT, Role.TIMES, Role.TENANT, "before the id", Role.RESPONSE_ID)
    return Mould(
        layout=layout,
        parent_is_remote=parent_is_remote,
        match=matches[0],
        more=[(least, match) for (least, _), match in zip(writer.patterns, matches, strict=True)][1:],
        pick=itemgetter(
            *[writer.group_of.get(role, writer.group_of["none"]) for role in (*roles, *(usual or _NEITHER))]
        ),
        id_heads=id_heads,
        is_whole=last == 0,
        has_counts=layout.read_counts is not None,
        has_usual_counts=bool(usual),
        counts_at={} if usual else {key: writer.group_of[key] for key in wanted},
        # Of what is passed over, and may be long, only the tag and the head are kept.
        parts=[part._replace(text=part.text[:1]) if at in passed_over else part for at, part in enumerate(parts)],
        passed_over=passed_over,
    )


@functools.lru_cache(64)
def _heads_by_length(head: bytes) -> Sequence[bytes]:
    """What stands before a text of each length: the lengths that agree with it, and the key."""
    return [
        bytes((len(head) + _OVERHEAD + size,)) + head + _text_beginning(size)
        for size in range(_MOST_BYTES - len(head) - _OVERHEAD + 1)
    ]


def _count_beginnings(head: bytes) -> bytes:
    """What may stand before a count of each length: the lengths that agree with it."""
    return b"(?:%b)" % b"|".join(
        re.escape(bytes((len(head) + 3 + size,)) + head + _VALUE_TAG + bytes((size + 1,)) + _INT_TAG)
        + b"(?=[\\x80-\xff]{%d}[\\0-\\x7f])" % (size - 1)
        for size in _COUNT_BYTES
    )


def _fields(raw: bytes) -> list[bytes] | None:
    """The fields of a message, each with its tag; None where they cannot be told apart, or a tag is longer than it need
    be, so that it would be taken for another."""
    fields = []
    at = 0
    while at < len(raw):
        tag = varint_at(raw, at)
        if tag is None or tag[1] - at != (1 if tag[0] < 0x80 else 2 if tag[0] < 0x4000 else 3):
            return None
        number, end = tag
        match number & 7:
            case 0:
                value = varint_at(raw, end)
                end = value[1] if value is not None else len(raw) + 1
            case 1:
                end += 8
            case 2:
                length = varint_at(raw, end)
                end = length[0] + length[1] if length is not None else len(raw) + 1
            case 5:
                end += 4
            case _:
                return None
        if end > len(raw):
            return None
        fields.append(raw[at:end])
        at = end
    return fields
