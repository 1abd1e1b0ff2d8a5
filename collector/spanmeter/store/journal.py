"""The journal: what was received and is not decided yet."""

import bisect
import json
import struct
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import msgspec

from spanmeter.store.database import Database
from spanmeter.store.file import SqliteFile
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.packing import PackedFacts, Row, packed
from spanmeter.usage.span import LINK_BYTES, TRACE_ID_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One request. `links` are 32 bytes for each span without facts; `spans` counts all, `rejected` those refused."""

    received_ns: int
    facts: Sequence[SpanFacts]
    links: bytes = b""
    spans: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """An entry as read back. `seq` grows with every append and is never used twice."""

    seq: int
    received_ns: int
    facts: Sequence[SpanFacts]
    links: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTraces:
    """Of a row, the keys of the traces that it speaks of, each once: those with facts, those with links alone."""

    seq: int
    received_ns: int
    facts: "array[int]"
    links: "array[int]"


class Journal(Protocol):
    """Entries in the order of their appending.

    `append` is atomic, and durable on return: fsync has ended. `read` gives rows with a seq above `after`, at most
    `limit`, `read_traces` of which traces those are, which costs a tenth; rows that were removed are gone for good.
    `read_of` gives these rows in order, as far as they are of the traces with these keys. `remove` is durable on
    return, and passes over rows that are gone. Every method may raise StoreError; then nothing has happened.
    """

    def append(self, entries: Sequence[JournalEntry]) -> None: ...

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]: ...

    def read_traces(self, *, after: int, limit: int) -> Sequence[RowTraces]: ...

    def read_of(self, keys: Mapping[int, Collection[int]]) -> Iterator[JournalRow]: ...

    def remove(self, seqs: Collection[int]) -> None: ...

    def depth(self) -> int: ...


_KEY_SHIFT = 4


def trace_key(trace_id: bytes) -> int:
    """A trace in half of the memory of its id, in this process only. Should two traces ever have the same, they wait
    for each other, and no more than that. (Sixty bits: an int of more takes sixteen bytes more.)"""
    return hash(trace_id) >> _KEY_SHIFT


class _Head(msgspec.Struct, array_like=True, gc=False):
    """What a row of facts begins with; the rest is passed over."""

    number: int
    trace_id: bytes


_FORMAT = 1
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[SpanFacts], list[Row]])
_heads_decoder = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw, list[_Head]])
_BEGINNING = b"\x93\x01"
"""An array of three, the first of which is the format."""
# What was written before there were formats is an array of facts. These are maps: none has a small integer in its place
# for a first item, and the header of a longer array differs.
_old_decoder = msgspec.msgpack.Decoder(list[SpanFacts])


def encoded(facts: Sequence[SpanFacts]) -> bytes:
    """`facts` as they stand in the journal."""
    found = packed(facts)
    return _encoder.encode((_FORMAT, found.shapes, found.rows))


class EncodedFacts(Sequence[SpanFacts]):
    """Facts as they stand in the journal, read anew by whoever looks at one; with what is counted of them there. Who
    has just made facts encodes them for a third of what it costs the thread that writes, later."""

    __slots__ = ("_count", "stored", "totals")

    def __init__(self, facts: Sequence[SpanFacts]) -> None:
        found = packed(facts)
        self._count = len(found)
        self.totals = found.totals()
        self.stored = encoded(found)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> SpanFacts: ...
    @overload
    def __getitem__(self, index: slice) -> list[SpanFacts]: ...
    def __getitem__(self, index: int | slice) -> SpanFacts | list[SpanFacts]:
        return decoded(self.stored)[index]

    def __iter__(self) -> Iterator[SpanFacts]:
        return iter(decoded(self.stored))


def decoded(stored: bytes) -> PackedFacts:
    """The facts in `encoded` bytes, of this version or an older one."""
    if not stored.startswith(_BEGINNING):
        return packed(_old_decoder.decode(stored))
    _, shapes, rows = _decoder.decode(stored)
    return PackedFacts(shapes, rows)


def _trace_ids(stored: bytes) -> list[bytes]:
    if not stored.startswith(_BEGINNING):
        return [facts.trace_id for facts in _old_decoder.decode(stored)]
    return [head.trace_id for head in _heads_decoder.decode(stored)[2]]


_LINK = struct.Struct(f"{TRACE_ID_BYTES}s{LINK_BYTES - TRACE_ID_BYTES}s")
_ROWS_AT_ONCE = 8
"""Of a large request a row takes megabytes."""


def row_traces(seq: int, received_ns: int, facts: Iterable[bytes], links: bytes) -> RowTraces:
    """Of the trace ids of a row's facts, and its links."""
    with_facts = dict.fromkeys(map(trace_key, facts))
    with_links = dict.fromkeys(trace_id for trace_id, _ in _LINK.iter_unpack(links)) if links else ()
    return RowTraces(
        seq=seq,
        received_ns=received_ns,
        facts=array("q", with_facts),
        links=array("q", [key for key in map(trace_key, with_links) if key not in with_facts]),
    )


def row_of(row: JournalRow, keys: Collection[int]) -> JournalRow:
    """Of `row`, what is of the traces with these keys."""
    facts = row.facts
    links = row.links and b"".join(
        trace_id + rest for trace_id, rest in _LINK.iter_unpack(row.links) if trace_key(trace_id) in keys
    )
    if isinstance(facts, PackedFacts):
        # `trace_key` of each, in place: it is asked for every span.
        mine = [one for one in facts.rows if hash(one[1]) >> _KEY_SHIFT in keys]
        found: Sequence[SpanFacts] = PackedFacts(facts.shapes, mine)
    else:
        found = [one for one in facts if trace_key(one.trace_id) in keys]
    return JournalRow(seq=row.seq, received_ns=row.received_ns, facts=found, links=links)


_FIRST_APART = 1 << 40
"""Every number in the journal's own file is higher, and none in the books, where rows of earlier versions are."""


class SqliteJournal:
    """`Journal` in the data folder. Rows that an earlier version left in the books come first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[JournalEntry]) -> None:
        rows: list[tuple[object, ...]] = []
        spans = llm_spans = input_tokens = output_tokens = rejected = 0
        for entry in entries:
            spans += entry.spans
            rejected += entry.rejected
            facts = entry.facts if isinstance(entry.facts, EncodedFacts) else EncodedFacts(entry.facts)
            calls, of_input, of_output = facts.totals
            llm_spans += calls
            input_tokens += of_input
            output_tokens += of_output
            if facts or entry.links:
                rows.append((entry.received_ns, facts.stored, entry.links))
        self._database.check_there()  # without the books nobody may ever bill it
        with self._database.journal.transaction() as transaction:
            transaction.execute_many("journal_append", rows)
            transaction.execute("received_add", len(entries), spans, llm_spans, input_tokens, output_tokens, rejected)

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]:
        return [
            JournalRow(seq=seq, received_ns=received_ns, facts=decoded(facts), links=links)
            for seq, received_ns, facts, links in self._rows(after, limit)
        ]

    def read_traces(self, *, after: int, limit: int) -> Sequence[RowTraces]:
        return [
            row_traces(seq, received_ns, _trace_ids(facts), links)
            for seq, received_ns, facts, links in self._rows(after, limit)
        ]

    def _rows(self, after: int, limit: int) -> list[tuple[int, int, bytes, bytes]]:
        rows = [] if after >= _FIRST_APART else self._database.execute_in_turn("journal_read", after, limit)
        return rows + self._database.journal.execute_in_turn("journal_read", after, limit - len(rows))

    def read_of(self, keys: Mapping[int, Collection[int]]) -> Iterator[JournalRow]:
        for file, seqs in self._by_file(keys):
            for at in range(0, len(seqs), _ROWS_AT_ONCE):
                some = json.dumps(seqs[at : at + _ROWS_AT_ONCE])
                for seq, received_ns, facts, links in file.execute_in_turn("journal_read_of", some):
                    row = JournalRow(seq=seq, received_ns=received_ns, facts=decoded(facts), links=links)
                    yield row_of(row, keys[seq])

    def remove(self, seqs: Collection[int]) -> None:
        for file, some in self._by_file(seqs):
            with file.transaction() as transaction:
                transaction.execute_many("journal_delete", [(seq,) for seq in some])

    def _by_file(self, seqs: Iterable[int]) -> list[tuple[SqliteFile, list[int]]]:
        """In order, and the files that have none of them left out."""
        ordered = sorted(seqs)
        middle = bisect.bisect_left(ordered, _FIRST_APART)
        parts = [(self._database, ordered[:middle]), (self._database.journal, ordered[middle:])]
        return [(file, some) for file, some in parts if some]

    def depth(self) -> int:
        return self.depth_and_oldest()[0]

    def depth_and_oldest(self) -> tuple[int, int]:
        """How many rows there are, and when the oldest came, 0 where there is none."""
        found = [file.execute("journal_depth")[0] for file in (self._database, self._database.journal)]
        return sum(count for count, _ in found), next((oldest_ns for count, oldest_ns in found if count), 0)

    def received(self) -> tuple[int, ...]:
        """Requests, spans, LLM spans, their input and output tokens, and rejected spans, since the folder was made."""
        parts = [file.execute("received_read")[0] for file in (self._database, self._database.journal)]
        return tuple(map(sum, zip(*parts, strict=True)))

    def last_left(self) -> int:
        """The number of the last row in the books: a process of an earlier version that still runs may add some."""
        last: int = self._database.execute("journal_last")[0][0]
        return last
