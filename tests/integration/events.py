"""Events in a real file, made without spans, and moved about as delivery moves them."""

from contextlib import closing
from pathlib import Path

import msgspec

from spanmeter.store.database import Database
from spanmeter.store.ledger import Settlement, SqliteLedger
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent
from tests.spans import NOW_NS, SECOND_NS

TABLES = ("outbox", "sent", "settled", "dead_letter", "discarded", "local_only")


def usage_event(number: int, *, subject: str = "acme", tokens: int = 10, source: str = "spanmeter") -> UsageEvent:
    """The call ended `number` seconds after `NOW_NS`."""
    return UsageEvent(
        id=f"call-{number}-input",
        source=source,
        type="kong.llm_request",
        subject=subject,
        time_ns=NOW_NS + number * SECOND_NS,
        token_class=TokenClass.INPUT,
        tokens=tokens,
        model="gpt-4o-mini",
        provider="openai",
        scope="test",
        data={"type": "input", "tokens": tokens, "model": "gpt-4o-mini", "provider": "openai"},
    )


class Books:
    """A database with events in it."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(folder)
        self.outbox = SqliteOutbox(self.database)

    def make(self, *events: UsageEvent, deliver: bool = True) -> None:
        bodies = [msgspec.json.encode(event.cloudevent()) for event in events]
        settlement = Settlement(events=list(events), bodies=bodies)
        SqliteLedger(self.database).settle(settlement, now_ns=NOW_NS, deliver=deliver)

    def send(self, count: int = 1_000_000, *, at_ns: int = NOW_NS) -> None:
        """The service takes the oldest that wait."""
        self.outbox.ack([event.seq for event in self.outbox.lease(count, 10**9)], at_ns=at_ns)

    def refuse(self, count: int = 1_000_000, *, status: int = 400, reason: str = "no", at_ns: int = NOW_NS) -> None:
        seqs = [event.seq for event in self.outbox.lease(count, 10**9)]
        self.outbox.bury(seqs, status=status, reason=reason, at_ns=at_ns)

    def where(self) -> dict[str, str]:
        """Event id to table; AssertionError where an event is in several, or in none."""
        with closing(self.database._connect()) as connection:
            found: dict[str, str] = {}
            for table in TABLES:
                for (event_id,) in connection.execute(f"SELECT id FROM {table} JOIN event USING (seq)"):
                    assert event_id not in found, f"{event_id} is in {found[event_id]} and in {table}"
                    found[event_id] = table
            assert len(found) == connection.execute("SELECT count(*) FROM event").fetchone()[0]
        return found

    def tables(self) -> list[str]:
        """Where the events are, by their ids."""
        return [table for _, table in sorted(self.where().items())]

    def bodies(self) -> list[bytes]:
        return [body for _, body in self.database.execute("event_read", 0, 1_000_000)]
