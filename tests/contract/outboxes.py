"""The outboxes that the contract is checked on, each with what a test needs beyond the protocol."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from spanmeter.store.database import Database
from spanmeter.store.events import write_events
from spanmeter.store.outbox import Outbox, SqliteOutbox
from spanmeter.testing.outbox import MemoryOutbox
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent


class Rig(Protocol):
    """An outbox under test. `outbox` is another object after `kill`, which does what kill -9 and a restart do."""

    @property
    def outbox(self) -> Outbox: ...

    def put(self, bodies: Sequence[bytes]) -> Sequence[int]:
        """Makes events pending, oldest first, and returns their `seq`s."""
        ...

    def kill(self) -> None: ...

    def acked(self) -> dict[int, int]:
        """seq → at_ns."""
        ...

    def dead(self) -> dict[int, tuple[int, str, int]]:
        """seq → status, reason, at_ns."""
        ...

    def close(self) -> None: ...


class MemoryRig:
    def __init__(self, folder: Path) -> None:
        self._outbox = MemoryOutbox()

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    def put(self, bodies: Sequence[bytes]) -> Sequence[int]:
        return self._outbox.put(bodies)

    def kill(self) -> None:
        self._outbox.kill()

    def acked(self) -> dict[int, int]:
        return self._outbox.acked

    def dead(self) -> dict[int, tuple[int, str, int]]:
        return {seq: (letter.status, letter.reason, letter.at_ns) for seq, letter in self._outbox.dead.items()}

    def close(self) -> None:
        """Nothing is held."""


class SqliteRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = Database.open(folder)
        self._outbox = SqliteOutbox(self._database)
        self._made = 0

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    def put(self, bodies: Sequence[bytes]) -> Sequence[int]:
        before: int = self._database.execute("event_max")[0][0]
        events = [self._event() for _ in bodies]
        with self._database.transaction() as transaction:
            assert write_events(transaction, events, bodies, now_ns=1, deliver=True) is not None
        return [seq for seq, _ in self._database.execute("event_read", before, len(bodies))]

    def _event(self) -> UsageEvent:
        self._made += 1
        return UsageEvent(f"e{self._made}", "s", "t", "t", 1, TokenClass.INPUT, 1, "", "", "", {})

    def kill(self) -> None:
        self._database.close()
        self._database = Database.open(self._folder)
        self._outbox = SqliteOutbox(self._database)

    def acked(self) -> dict[int, int]:
        return dict(self._database.execute("sent_read"))

    def dead(self) -> dict[int, tuple[int, str, int]]:
        return {
            seq: (status, reason, at_ns) for seq, at_ns, status, reason in self._database.execute("dead_letter_read")
        }

    def close(self) -> None:
        self._database.close()


# Each is called with a folder of its own.
RIGS: list[Callable[[Path], Rig]] = [
    MemoryRig,
    SqliteRig,
]
