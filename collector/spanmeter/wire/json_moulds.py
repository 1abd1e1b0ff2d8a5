"""The moulds of a scope for spans in JSON: which to try on a span, and when one is worth making."""

import re
from binascii import unhexlify
from collections.abc import Mapping, MutableSequence, Sequence

from spanmeter.usage.layouts import Layout
from spanmeter.usage.named import tenant_of
from spanmeter.usage.packing import Row
from spanmeter.usage.span import NO_PARENT, Span, pack_link
from spanmeter.wire.json_mould import JsonMould, UnusualError, json_mould_of
from spanmeter.wire.moulds import MOST_ALIKE, MOST_MOULDS, MOST_PARSED, MOST_TENANTS, WORTH_SPANS
from spanmeter.wire.request import known_time

_NAME = re.compile(rb'"name"\s*:\s*"[^"\\]*"')


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
            made = json_mould_of(text, span, layout, compared)
        except UnusualError:
            return
        self._by_name[name[0]] = (made, *self._by_name.get(name[0], ()))
