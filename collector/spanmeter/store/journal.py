"""The journal: what was received and is not decided yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from spanmeter.store.database import Database
from spanmeter.usage.call import SpanFacts
from spanmeter.usage.packing import PackedFacts, Row, packed


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


class Journal(Protocol):
    """Entries in the order of their appending.

    `append` is atomic, and durable on return: fsync has ended. `read` gives rows with a seq above `after`, at most
    `limit`; rows that were removed are gone for good.
    """

    def append(self, entries: Sequence[JournalEntry]) -> None: ...

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]: ...

    def depth(self) -> int: ...


_FORMAT = 1
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[SpanFacts], list[Row]])
_BEGINNING = b"\x93\x01"
"""An array of three, the first of which is the format."""
# What was written before there were formats is an array of facts. These are maps: none has a small integer in its place
# for a first item, and the header of a longer array differs.
_old_decoder = msgspec.msgpack.Decoder(list[SpanFacts])


def encoded(facts: Sequence[SpanFacts]) -> bytes:
    """`facts` as they stand in the journal."""
    found = packed(facts)
    return _encoder.encode((_FORMAT, found.shapes, found.rows))


def decoded(stored: bytes) -> Sequence[SpanFacts]:
    """The facts in `encoded` bytes, of this version or an older one."""
    if not stored.startswith(_BEGINNING):
        return _old_decoder.decode(stored)
    _, shapes, rows = _decoder.decode(stored)
    return list(PackedFacts(shapes, rows))


class SqliteJournal:
    """`Journal` in the database. Removal belongs to the decision's transaction, see `SqliteLedger.settle`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[JournalEntry]) -> None:
        rows: list[tuple[object, ...]] = []
        spans = llm_spans = input_tokens = output_tokens = rejected = 0
        for entry in entries:
            spans += entry.spans
            rejected += entry.rejected
            facts = packed(entry.facts)
            calls, of_input, of_output = facts.totals()
            llm_spans += calls
            input_tokens += of_input
            output_tokens += of_output
            if facts or entry.links:
                rows.append((entry.received_ns, encoded(facts), entry.links))
        with self._database.transaction() as transaction:
            transaction.execute_many("journal_append", rows)
            transaction.execute("received_add", len(entries), spans, llm_spans, input_tokens, output_tokens, rejected)

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]:
        return [
            JournalRow(seq=seq, received_ns=received_ns, facts=decoded(facts), links=links)
            for seq, received_ns, facts, links in self._database.execute("journal_read", after, limit)
        ]

    def depth(self) -> int:
        count: int = self._database.execute("journal_depth")[0][0]
        return count
