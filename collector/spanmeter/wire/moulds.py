"""The moulds of a scope: which to try on a span, and when one is worth making."""

from collections import Counter
from collections.abc import Mapping, MutableSequence, Sequence
from struct import Struct

from spanmeter.usage.layouts import EncodedRow, Layout, Token
from spanmeter.usage.named import tenant_of
from spanmeter.usage.packing import Row
from spanmeter.usage.span import PARENT_IS_REMOTE, pack_link
from spanmeter.wire.mould import Mould, mould_of
from spanmeter.wire.roles import made_alike, opening_of, parts_of, single_ones
from spanmeter.wire.varint import Varints

WORTH_SPANS = 200
"""So many spans of a layout are parsed before a mould is made, which costs as much as parsing some hundreds."""
MOST_ALIKE = 8
"""Moulds that only a match tells apart: they are tried in turn."""
MOST_MOULDS = 128
"""Of one scope, of some 5 kB each. Who has no mould is parsed."""
MOST_PARSED = 100_000
"""After so many spans that a mould could have been made of, all are made anew: services change."""
MOST_TENANTS = 10_000
"""Of one scope. Others are read anew each time, which costs a tenth of what their span does."""
MOST_SEEN = 1_000
"""Kinds of spans that are counted towards a mould; then the count begins anew."""

# How every known encoder begins a span: trace id, span id, then the parent's if there is one, then the name.
_PARENT_TAG = 0x22
_NAME_OF_ROOT, _NAME_OF_CHILD = 28, 38
_LEAST_BYTES = 48

_times = Struct("<qxq").unpack  # signed, so that what is later than any store's time is negative
_NO_COUNTS = (0, 0, 0, 0, 0)


class _Alike:
    """Moulds for spans of one name. Told apart, first of all, by what stands from `begins` to `ends` behind the name,
    as far as all have something fixed in one place behind their times."""

    __slots__ = ("begins", "by_window", "ends", "moulds")

    def __init__(self, moulds: Sequence[Mould]) -> None:
        openings = [opening_of(mould.parts, mould.passed_over) for mould in moulds]
        self.moulds = moulds
        self.begins, width = _told_apart_by(openings)
        self.ends = self.begins + width
        self.by_window: dict[bytes, tuple[Mould, ...]] = {}
        for (_, opening), mould in zip(openings, moulds, strict=True):
            self.by_window[opening[:width]] = (*self.by_window.get(opening[:width], ()), mould)


def _told_apart_by(openings: Sequence[tuple[int, bytes]]) -> tuple[int, int]:
    """From where, and by how many bytes: by none if they do not all begin in one place."""
    begins = {at for at, _ in openings}
    width = min(len(opening) for _, opening in openings) if len(begins) == 1 else 0
    return min(begins), width


def _has_room(openings: Sequence[tuple[int, bytes]]) -> bool:
    """Whether no more than `MOST_ALIKE` would have to be tried for a span."""
    _, width = _told_apart_by(openings)
    return max(Counter([opening[:width] for _, opening in openings]).values()) <= MOST_ALIKE


class Moulds:
    """By what stands where a name does; which need not be one, as long as it is the same on both ways. Many threads may
    use them: what is tried is replaced, never changed."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, _Alike] = {}
        self._seen: dict[tuple[bytes, Layout], int] = {}
        self._made = 0
        self._parsed = 0
        self._varints = Varints()
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
        """Adds the rows of those that a mould fits, or links where their layout has no number; gives the others."""
        by_name, tenants, varints = self._by_name, self._tenants, self._varints
        if not by_name:
            return spans
        others: list[bytes] = []
        for raw in spans:
            groups: Sequence[bytes] | None = None
            for mould in _candidates(raw, by_name):
                match = mould.match(raw)
                if match is not None:
                    groups = match.groups() if mould.is_whole else mould.groups(raw, match)
                    if groups is not None:
                        break
            if groups is None:
                others.append(raw)
                continue
            trace_id, span_id, parent_id, times, field, id_head, own_id, input_, output = mould.pick(groups)
            tenant, counts = "", None
            if field:
                tenant = tenants.get(field) or self._tenant(field, mould.tenant_heads)
            if mould.has_usual_counts:
                input_tokens, output_tokens = varints[input_], varints[output]
                if input_tokens or output_tokens:
                    counts = (input_tokens, 0, 0, output_tokens, 0)
            elif mould.has_counts:
                counts = mould.counts(groups, varints)
            if (
                (field and not tenant)
                or (own_id and mould.id_heads[len(own_id)] != id_head)
                or (counts is None and mould.has_counts)
            ):
                others.append(raw)
                continue
            number = numbers[mould.layout]
            if number is None:
                links.append(pack_link(trace_id, span_id, parent_id))
                continue
            start_ns, end_ns = _times(times)
            start_ns = max(start_ns, 0)
            if end_ns <= 0:
                end_ns = start_ns or received_ns
            rows.append(
                (
                    number,
                    trace_id,
                    span_id,
                    parent_id,
                    mould.parent_is_remote,
                    start_ns,
                    end_ns,
                    tenant,
                    own_id.decode(),
                    counts,
                )
            )
        return others

    def _tenant(self, field: bytes, heads: Sequence[bytes]) -> str:
        """Of an attribute that is not remembered, with its length before it: empty if it names none, or several, or if
        its lengths do not agree."""
        begins = len(heads[0])
        text = field[begins:]
        if heads[len(text)] != field[:begins]:
            return ""
        tenant = tenant_of(text.decode("utf-8", "replace"))
        if tenant and len(self._tenants) < MOST_TENANTS:
            self._tenants[field] = tenant
        return tenant

    def learn(self, row: EncodedRow, layout: Layout, tokens: Sequence[Token]) -> None:
        """Of a span of a known layout that had to be parsed; if that happens too often, make a mould for its like."""
        message, raw = row[3:]
        self._parsed += 1
        if self._parsed > MOST_PARSED:
            self._by_name, self._seen = {}, {}
            self._made = self._parsed = 0
        name = raw[slice(*_name_of(raw))]
        seen = self._seen.get((name, layout), 0) + 1
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen[name, layout] = seen % WORTH_SPANS
        parts = parts_of(raw, layout, tokens) if name and seen >= WORTH_SPANS and self._made < MOST_MOULDS else None
        if parts is None:
            return
        alike = self._by_name.get(name)
        moulds = alike.moulds if alike is not None else ()
        passed_over = single_ones(parts)
        for mould in moulds:
            different = made_alike(parts, mould.parts) if mould.layout is layout else None
            if different is not None:
                if different <= mould.passed_over:
                    return  # it should have fit, and would not another time
                passed_over |= different
                moulds = tuple(other for other in moulds if other is not mould)
                break
        openings = [opening_of(mould.parts, mould.passed_over) for mould in moulds]
        if _has_room([*openings, opening_of(parts, passed_over)]):
            self._made += 1
            made = mould_of(parts, layout, passed_over, parent_is_remote=PARENT_IS_REMOTE[message.flags >> 8 & 3])
            self._by_name[name] = _Alike((made, *moulds))


def _name_of(raw: bytes) -> tuple[int, int]:
    """From where to where what stands where a name does."""
    if len(raw) < _LEAST_BYTES:
        return 0, 0
    at = _NAME_OF_CHILD if raw[_NAME_OF_ROOT] == _PARENT_TAG else _NAME_OF_ROOT
    return at, at + 2 + raw[at + 1]


def _candidates(raw: bytes, by_name: Mapping[bytes, _Alike]) -> Sequence[Mould]:
    """Those that may fit."""
    begins, ends = _name_of(raw)
    alike = by_name.get(raw[begins:ends])
    return () if alike is None else alike.by_window.get(raw[ends + alike.begins : ends + alike.ends], ())
