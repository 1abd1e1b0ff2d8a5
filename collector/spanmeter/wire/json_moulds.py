"""The moulds of a scope for spans in JSON: which to try on a span, and when one is worth making."""

from collections.abc import Mapping, MutableSequence, Sequence

from spanmeter.usage.layouts import Layout
from spanmeter.usage.named import tenant_of
from spanmeter.usage.packing import Row
from spanmeter.usage.span import PARENT_IS_REMOTE, pack_link
from spanmeter.wire.json_messages import WrittenSpan, ids_of
from spanmeter.wire.json_mould import JsonMould, UnusualError, json_mould_of
from spanmeter.wire.moulds import MOST_ALIKE, MOST_MOULDS, MOST_PARSED, MOST_SEEN, MOST_TENANTS, WORTH_SPANS
from spanmeter.wire.request import known_time

MOST_BYTES = 2_048
"""Of attributes. A pattern goes from one byte to the next: of long texts it takes longer than to decode them."""

_Like = tuple[str | None, bool]
"""What is told of a span before its attributes: its name, and whether it ended with an error."""


class JsonMoulds:
    """Many threads may use them: what is tried is replaced, never changed."""

    def __init__(self) -> None:
        self._like: dict[_Like, tuple[JsonMould, ...]] = {}
        self._seen: dict[_Like, int] = {}
        self._made = 0
        self._parsed = 0
        self._tenants: dict[bytes, str] = {}

    def take(
        self,
        spans: Sequence[WrittenSpan],
        *,
        numbers: Mapping[Layout, int | None],
        rows: MutableSequence[Row],
        links: MutableSequence[bytes],
        received_ns: int,
    ) -> Sequence[WrittenSpan]:
        moulds, tenants = self._like, self._tenants
        if not moulds:
            return spans
        others: list[WrittenSpan] = []
        for span in spans:
            match = None
            alike = moulds.get((span.name, span.is_error))
            if alike is not None and len(text := bytes(span.attributes)) <= MOST_BYTES:
                for mould in alike:
                    match = mould.match(text)
                    if match is not None:
                        break
            if match is None:
                others.append(span)
                continue
            groups = match.groups()
            named, response_id, input_, output = mould.pick(groups)
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
            ids = ids_of(span)
            if isinstance(ids, str) or (named and not tenant) or (counts is None and mould.has_counts):
                others.append(span)
                continue
            number = numbers[mould.layout]
            if number is None:
                links.append(pack_link(*ids))
                continue
            start_ns = known_time(span.start_time_unix_nano or 0)
            rows.append(
                (
                    number,
                    *ids,
                    PARENT_IS_REMOTE[(span.flags or 0) >> 8 & 3],
                    start_ns,
                    known_time(span.end_time_unix_nano or 0) or start_ns or received_ns,
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

    def is_worth(self, span: WrittenSpan) -> bool:
        self._parsed += 1
        if self._parsed > MOST_PARSED:
            self._like, self._seen = {}, {}
            self._made = self._parsed = 0
        like = span.name, span.is_error
        seen = self._seen.get(like, 0) + 1
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen[like] = seen % WORTH_SPANS
        return seen >= WORTH_SPANS and self._made < MOST_MOULDS and len(bytes(span.attributes)) <= MOST_BYTES

    def learn(self, span: WrittenSpan, layout: Layout, compared: frozenset[str]) -> None:
        self._made += 1
        like = span.name, span.is_error
        others = self._like.get(like, ())
        try:
            made = json_mould_of(bytes(span.attributes), layout, compared)
        except UnusualError:
            return
        different = tuple(other for other in others if other.fixed != made.fixed)
        if len(different) < MOST_ALIKE:
            self._like[like] = (made, *different)
