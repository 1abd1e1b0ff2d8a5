"""The named steps at which the collector is killed: each a call of the store or of the client, wrapped from outside."""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reply import Taken
from spanmeter.store.database import Transaction
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger
from spanmeter.store.outbox import SqliteOutbox


class Step(StrEnum):
    """Where a life ends, in the order in which a call passes them."""

    JOURNAL_WRITTEN = "request: written, not committed"
    JOURNAL_COMMITTED = "request: committed, not acknowledged"
    SETTLEMENT_WRITTEN = "assembly: written, not committed"
    SETTLEMENT_COMMITTED = "assembly: committed"
    BATCH_LEASED = "delivery: leased, not sent"
    BATCH_TAKEN = "delivery: taken, ack not stored"
    ACK_WRITTEN = "delivery: ack written, not committed"
    ACK_COMMITTED = "delivery: ack committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A method; the call counts if `matters` says so of its arguments (without self) and its result."""

    owner: type[Any]
    method: str
    matters: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _result: True


def _query(name: str) -> Callable[[tuple[Any, ...], Any], bool]:
    return lambda arguments, _: arguments[0] == name


# A query inside a transaction is reached after its BEGIN and before its COMMIT.
_PLACES = {
    Step.JOURNAL_WRITTEN: _Place(owner=Transaction, method="execute", matters=_query("received_add")),
    Step.JOURNAL_COMMITTED: _Place(owner=SqliteJournal, method="append"),
    Step.SETTLEMENT_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("memory_write")),
    Step.SETTLEMENT_COMMITTED: _Place(owner=SqliteLedger, method="settle"),
    Step.BATCH_LEASED: _Place(owner=SqliteOutbox, method="lease", matters=lambda _, batch: bool(batch)),
    Step.BATCH_TAKEN: _Place(owner=EventsClient, method="send", matters=lambda _, reply: isinstance(reply, Taken)),
    Step.ACK_WRITTEN: _Place(owner=Transaction, method="execute", matters=_query("outbox_delete")),
    Step.ACK_COMMITTED: _Place(owner=SqliteOutbox, method="ack"),
}


def arm(step: Step, passes: int) -> None:
    """This process kills itself with SIGKILL when it has passed the step so many times."""
    place = _PLACES[step]
    original = getattr(place.owner, place.method)
    left = passes

    @functools.wraps(original)
    def deadly(self: object, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        result = original(self, *arguments, **named)
        if place.matters(arguments, result):
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place.owner, place.method, deadly)
