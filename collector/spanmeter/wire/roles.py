"""What the fields of a span are to those that recognise it: what is its own, what it shares with others, what nobody
reads."""

from collections import Counter
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from spanmeter.usage.layouts import Layout, Token
from spanmeter.wire.varint import varint_at

_TRACE_ID, _SPAN_ID, _PARENT, _START, _END, _ATTRIBUTE = 0x0A, 0x12, 0x22, 0x39, 0x41, 0x4A  # tags of a span's fields
_EVENT, _LINK = 0x5A, 0x6A
_ID_BYTES = {_TRACE_ID: 16, _SPAN_ID: 8, _PARENT: 8}
_KEY = b"\n"
_VALUE_TAG, _STRING_TAG, _INT_TAG = b"\x12", b"\n", b"\x18"
MOST_FIXED_BYTES = 4_096
"""A pattern of more takes long to make, and what is so long does not come again."""
MOST_BYTES = 0x7F  # of what has its length in one byte
COUNT_BYTES = (1, 2, 3)
_TIMES_BYTES = 18
TEXT_OVERHEAD = 4  # of a text: tag and length of the value, and of the string in it


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
    is_usual = attribute[:1] == _KEY and len(head) == attribute[1] + 2 <= MOST_BYTES
    value = attribute[len(head) :]
    if isinstance(token, bytes):
        return Part(Role.FIXED, field, head)  # whatever else it is: an event's dimension may be a copy of it
    if number in (layout.tenant_at, layout.id_at):
        text = value[TEXT_OVERHEAD:]
        if not is_usual or not is_short or value[:4] != text_beginning(len(text)):
            return None
        return Part(Role.TENANT if number == layout.tenant_at else Role.RESPONSE_ID, field[:1], head)
    if count_key:
        if not is_usual or len(head) > MOST_BYTES - 3 - COUNT_BYTES[-1] or not is_short or not _is_count(value):
            return None
        return Part(Role.COUNT, field[:1], head, count_key)
    return Part(Role.UNREAD if is_usual else Role.FIXED, field, head)


def _is_count(value: bytes) -> bool:
    """A number that is not negative, of the usual length, and nothing else."""
    size = len(value) - 3
    return size in COUNT_BYTES and value[:3] == count_beginning(size)


def count_beginning(size: int) -> bytes:
    """What stands between a key and a number of so many bytes."""
    return _VALUE_TAG + bytes((size + 1,)) + _INT_TAG


def text_beginning(length: int) -> bytes:
    """What stands between a key and a text of this length; nothing for one that is too long to be in a mould."""
    return _VALUE_TAG + bytes((length + 2,)) + _STRING_TAG + bytes((length,)) if length + 2 <= MOST_BYTES else b""


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
        if part.role is Role.UNREAD and (not part.head or len(part.text) > MOST_BYTES)
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
