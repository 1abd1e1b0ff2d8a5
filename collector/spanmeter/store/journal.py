"""The journal: what was received and is not decided yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from spanmeter.store.database import Database
from spanmeter.usage.call import SpanFacts


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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[SpanFacts])


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
            for facts in entry.facts:
                call = facts.call
                if call is not None:
                    llm_spans += 1
                    if call.usage is not None:
                        input_tokens += call.usage.all_input
                        output_tokens += call.usage.all_output
            if entry.facts or entry.links:
                rows.append((entry.received_ns, _encoder.encode(entry.facts), entry.links))
        with self._database.transaction() as transaction:
            transaction.execute_many("journal_append", rows)
            transaction.execute("received_add", len(entries), spans, llm_spans, input_tokens, output_tokens, rejected)

    def read(self, *, after: int, limit: int) -> Sequence[JournalRow]:
        return [
            JournalRow(seq=seq, received_ns=received_ns, facts=_decoder.decode(facts), links=links)
            for seq, received_ns, facts, links in self._database.execute("journal_read", after, limit)
        ]

    def depth(self) -> int:
        count: int = self._database.execute("journal_depth")[0][0]
        return count
