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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from spanmeter.usage.layouts import Layout
from spanmeter.usage.packing import Counts
from spanmeter.wire.roles import (
    COUNT_BYTES,
    MOST_BYTES,
    TEXT_OVERHEAD,
    Part,
    Role,
    count_beginning,
    text_beginning,
)
from spanmeter.wire.varint import Varints, read_varint

_NEITHER = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mould:
    """`match` matches a span, up to the length of the first text to be passed over if there are `more`; each of these
    begins behind such a text and is preceded by the least length that it must have. `pick` gives, of all groups, trace
    id, span id, parent's, start and end, tenant, and the response id with what stands before it; then, if the counts
    are just whole numbers for input and output (`has_usual_counts`), these. `tenant_heads` and `id_heads` are, by the
    length of such a text, what must stand before it."""

    layout: Layout
    parent_is_remote: bool | None
    match: Callable[[bytes], Any]
    more: Sequence[tuple[int, Callable[[bytes, int], Any]]]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    tenant_heads: Sequence[bytes]
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
    tenant_heads: Sequence[bytes] = ()
    id_heads: Sequence[bytes] = ()
    for at, part in enumerate(parts):
        text, head = re.escape(part.text), re.escape(part.head)
        most = MOST_BYTES - len(part.head) - TEXT_OVERHEAD
        match part.role:
            case Role.TRACE_ID | Role.SPAN_ID | Role.PARENT:
                size = part.text[1]
                writer.write(b"%b(?!\\0{%d})(.{%d})" % (text, size, size), part.role)
            case Role.TIMES:
                writer.write(b"9(.{8}A.{8})", part.role)
            case Role.TENANT:
                writer.write(b"%b([\\0-\\x7f]%b\x12.\n.[^\\0-\x1f]{1,%d})" % (text, head, most), part.role)
                tenant_heads = _heads_by_length(part.head)
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
        tenant_heads=tenant_heads,
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
        bytes((len(head) + TEXT_OVERHEAD + size,)) + head + text_beginning(size)
        for size in range(MOST_BYTES - len(head) - TEXT_OVERHEAD + 1)
    ]


def _count_beginnings(head: bytes) -> bytes:
    """What may stand before a count of each length: the lengths that agree with it."""
    return b"(?:%b)" % b"|".join(
        re.escape(bytes((len(head) + 3 + size,)) + head + count_beginning(size))
        + b"(?=[\\x80-\xff]{%d}[\\0-\\x7f])" % (size - 1)
        for size in COUNT_BYTES
    )
