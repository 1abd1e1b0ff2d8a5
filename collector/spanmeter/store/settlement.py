"""What is known of events after the service took them: read back, missing, complained of."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from spanmeter.store.database import Database
from spanmeter.store.keys import keys_of_event


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """An event to be looked for. `sent_ns` is when the service took it last, `resent` how often it was sent again
    because it was not there."""

    seq: int
    id: str
    sent_ns: int
    resent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An event that the service holds, with what it has against it: (code, message)."""

    id: str
    errors: tuple[tuple[str, str], ...] = ()


class SettlementBook(Protocol):
    """Events of one source that the service took. Changes are durable on return; an event that is not where it is
    expected is left alone. Every method may raise StoreError; then nothing has happened."""

    def oldest_unread_ns(self, *, since_ns: int, until_ns: int) -> int | None:
        """When the oldest event was sent that is not read back yet and was sent in that time; None where none was."""
        ...

    def settle(self, readings: Iterable[Reading], *, at_ns: int) -> int:
        """These are there. Complaints replace those of an earlier reading. How many were news."""
        ...

    def overdue(self, *, now_ns: int, grace_ns: int, since_ns: int, limit: int) -> Sequence[Sought]:
        """Events sent `grace_ns` · 2^resent ago or longer, but not before `since_ns`; the oldest first."""
        ...

    def complained_of(self, *, read_before_ns: int, limit: int) -> Sequence[Sought]:
        """Events with complaints that were last read before that time; the oldest reading first."""
        ...

    def resend(self, seqs: Sequence[int], *, at_ns: int) -> None:
        """They are not there: back into the outbox, but for those whose body is no longer kept; counted all the
        same."""
        ...

    def give_up(self, seqs: Sequence[int], *, at_ns: int) -> None:
        """They are not there, and are not sent again: a person must see to it."""
        ...

    def seen(self, seqs: Sequence[int], *, at_ns: int) -> None:
        """Their complaints were looked at again, without an answer that changes them."""
        ...

    def tell(self, *, state: str, notice: str) -> None:
        """How reading back stands, for `spanmeter status`."""
        ...


class SqliteSettlementBook:
    """`SettlementBook` in the database."""

    def __init__(self, database: Database, *, source: str) -> None:
        self._database = database
        self._source = source

    def oldest_unread_ns(self, *, since_ns: int, until_ns: int) -> int | None:
        return next((sent_ns for (sent_ns,) in self._database.execute("sent_unread", since_ns, until_ns)), None)

    def settle(self, readings: Iterable[Reading], *, at_ns: int) -> int:
        by_id = {reading.id: reading for reading in readings}
        keys = b"".join({key for event_id in by_id for key in keys_of_event(self._source, event_id)})
        news = self._database.execute("unsettled_among", keys=keys, ids=json.dumps(list(by_id)))
        if not news:
            return 0
        with self._database.transaction() as transaction:
            transaction.execute_many("settled_insert", [(at_ns, seq) for seq, _ in news])
            for query in ("sent_delete", "missing_delete", "complaint_delete"):
                transaction.execute_many(query, [(seq,) for seq, _ in news])
            transaction.execute_many(
                "complaint_insert",
                [(seq, code, message, at_ns) for seq, event_id in news for code, message in by_id[event_id].errors],
            )
        return len(news)

    def overdue(self, *, now_ns: int, grace_ns: int, since_ns: int, limit: int) -> Sequence[Sought]:
        rows = self._database.execute(
            "sent_overdue", source=self._source, now_ns=now_ns, grace_ns=grace_ns, since_ns=since_ns, limit=limit
        )
        return [Sought(seq=seq, id=event_id, sent_ns=sent_ns, resent=resent) for seq, event_id, sent_ns, resent in rows]

    def complained_of(self, *, read_before_ns: int, limit: int) -> Sequence[Sought]:
        rows = self._database.execute("complained_of", source=self._source, read_ns=read_before_ns, limit=limit)
        return [Sought(seq=seq, id=event_id, sent_ns=sent_ns) for seq, event_id, sent_ns, _ in rows]

    def resend(self, seqs: Sequence[int], *, at_ns: int) -> None:
        with self._database.transaction() as transaction:
            transaction.execute_many("missing_resent", [(at_ns, seq) for seq in seqs])
            transaction.execute_many("outbox_from_sent", [(seq,) for seq in seqs])
            transaction.execute_many("sent_left", [(seq,) for seq in seqs])

    def give_up(self, seqs: Sequence[int], *, at_ns: int) -> None:
        with self._database.transaction() as transaction:
            transaction.execute_many("missing_given_up", [(at_ns, seq) for seq in seqs])

    def seen(self, seqs: Sequence[int], *, at_ns: int) -> None:
        with self._database.transaction() as transaction:
            transaction.execute_many("complaint_seen", [(at_ns, seq) for seq in seqs])

    def tell(self, *, state: str, notice: str) -> None:
        with self._database.transaction() as transaction:
            transaction.execute_many("fact_write", [("settlement_state", state), ("settlement_notice", notice)])
