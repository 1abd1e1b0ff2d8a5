"""Adjusting events and what they adjust."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from spanmeter.errors import ConflictError
from spanmeter.store.database import Database
from spanmeter.store.events import write_events
from spanmeter.store.keys import HASH_BYTES, KEY_BYTES, keys_of_event
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Correctable:
    """An event as it is in the ledger. `where` is local (recorded without a service), refused (a dead letter, also one
    given up), waiting (in the outbox) or sent. `adjusted` is the sum of its `corrections` so far. `body` is
    empty where it is no longer kept."""

    seq: int
    id: str
    source: str
    subject: str
    time_ns: int
    token_class: TokenClass
    tokens: int
    model: str
    provider: str
    scope: str
    body: bytes
    where: str
    corrections: int
    adjusted: int
    is_correction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRow:
    """A correction that was made. `time_ns` is when it counts, `made_ns` when it was made."""

    id: str
    corrected: str
    subject: str
    tokens: int
    time_ns: int
    made_ns: int
    reason: str


class CorrectionBook(Protocol):
    """`add` is atomic and durable on return; it raises `ConflictError`, and changes nothing, if another process made
    the correction of the same number meanwhile."""

    def find(self, event_id: str) -> Sequence[Correctable]: ...

    def add(self, corrected: Correctable, event: UsageEvent, body: bytes, *, reason: str, now_ns: int) -> None: ...

    def all(self) -> Sequence[CorrectionRow]: ...


class SqliteCorrectionBook:
    """`CorrectionBook` in the database. A correction goes where its event went: to the outbox, or it stays local."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, event_id: str) -> Sequence[Correctable]:
        """Events with this id, one a source."""
        names = Correctable.__dataclass_fields__
        found = [
            dict(zip(names, row, strict=True))
            for key in keys_of_event("", event_id)
            for row in self._database.execute(
                "correctable_read",
                from_key=key[:HASH_BYTES],
                to_key=key[:HASH_BYTES].ljust(KEY_BYTES, b"\xff"),
                id=event_id,
            )
        ]
        return [
            Correctable(
                **row | {"token_class": TokenClass(row["token_class"]), "is_correction": bool(row["is_correction"])}
            )
            for row in found
        ]

    def add(self, corrected: Correctable, event: UsageEvent, body: bytes, *, reason: str, now_ns: int) -> None:
        with self._database.transaction() as transaction:
            number = write_events(transaction, [event], [body], now_ns=now_ns, deliver=corrected.where != "local")
            if number is None:
                raise ConflictError(f"{event.id} was made by another process at the same time")
            transaction.execute("correction_insert", number, corrected.seq, corrected.corrections + 1, reason)

    def all(self) -> Sequence[CorrectionRow]:
        """In the order in which they were made."""
        names = CorrectionRow.__dataclass_fields__
        return [
            CorrectionRow(**dict(zip(names, row, strict=True))) for row in self._database.execute("correction_read")
        ]
