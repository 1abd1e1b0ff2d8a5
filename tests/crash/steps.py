"""The named steps at which a process is killed: each a call of the store or of the client, wrapped from outside."""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reading import Got, ServiceReader
from spanmeter.openmeter.reply import Taken
from spanmeter.store.correction import SqliteCorrectionBook
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.store.redelivery import SqliteRedelivery
from spanmeter.store.settlement import SqliteSettlementBook
from spanmeter.store.statements import Transaction


class Step(StrEnum):
    """Where a life of the collector ends, in the order in which a call passes them."""

    JOURNAL_WRITTEN = "request: written, not committed"
    JOURNAL_COMMITTED = "request: committed, not acknowledged"
    SETTLEMENT_WRITTEN = "assembly: written, not committed"
    SETTLEMENT_COMMITTED = "assembly: committed, rows not removed"
    ROWS_REMOVED = "assembly: rows removed from the journal"
    BATCH_LEASED = "delivery: leased, not sent"
    BATCH_TAKEN = "delivery: taken, ack not stored"
    ACK_WRITTEN = "delivery: ack written, not committed"
    ACK_COMMITTED = "delivery: ack committed"


class LaterStep(StrEnum):
    """Where reading back, or a command of an operator, ends."""

    READ_BACK_ANSWERED = "settlement: read back, not stored"
    READ_BACK_WRITTEN = "settlement: written, not committed"
    READ_BACK_COMMITTED = "settlement: committed"
    RESEND_WRITTEN = "settlement: sending again decided, not committed"
    RESEND_COMMITTED = "settlement: sending again committed"
    RETRY_WRITTEN = "dead-letters retry: written, not committed"
    RETRY_COMMITTED = "dead-letters retry: committed"
    DISCARD_WRITTEN = "dead-letters discard: written, not committed"
    DISCARD_COMMITTED = "dead-letters discard: committed"
    REPLAY_WRITTEN = "replay: written, not committed"
    REPLAY_COMMITTED = "replay: committed"
    CORRECTION_WRITTEN = "correct: written, not committed"
    CORRECTION_COMMITTED = "correct: committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A method; the call counts if `matters` says so of its arguments (without self) and its result."""

    owner: type[Any]
    method: str
    matters: Callable[[tuple[Any, ...], Any], object] = lambda _arguments, _result: True


def _query(name: str) -> Callable[[tuple[Any, ...], Any], object]:
    return lambda arguments, _: arguments[0] == name


# A query inside a transaction is reached after its BEGIN and before its COMMIT.
_PLACES: dict[Step | LaterStep, _Place] = {
    Step.JOURNAL_WRITTEN: _Place(owner=Transaction, method="execute", matters=_query("received_add")),
    Step.JOURNAL_COMMITTED: _Place(owner=SqliteJournal, method="append"),
    Step.SETTLEMENT_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("memory_write")),
    Step.SETTLEMENT_COMMITTED: _Place(owner=SqliteLedger, method="settle"),
    Step.ROWS_REMOVED: _Place(owner=SqliteJournal, method="remove"),
    Step.BATCH_LEASED: _Place(owner=SqliteOutbox, method="lease", matters=lambda _, batch: bool(batch)),
    Step.BATCH_TAKEN: _Place(owner=EventsClient, method="send", matters=lambda _, reply: isinstance(reply, Taken)),
    Step.ACK_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("outbox_delete")),
    Step.ACK_COMMITTED: _Place(owner=SqliteOutbox, method="ack"),
    LaterStep.READ_BACK_ANSWERED: _Place(
        owner=ServiceReader, method="get", matters=lambda _, answer: isinstance(answer, Got)
    ),
    LaterStep.READ_BACK_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("settled_insert")),
    LaterStep.READ_BACK_COMMITTED: _Place(owner=SqliteSettlementBook, method="settle", matters=lambda _, news: news),
    LaterStep.RESEND_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("outbox_from_sent")),
    LaterStep.RESEND_COMMITTED: _Place(owner=SqliteSettlementBook, method="resend"),
    LaterStep.RETRY_WRITTEN: _Place(
        owner=Transaction, method="execute_many", matters=_query("outbox_from_dead_letter")
    ),
    LaterStep.RETRY_COMMITTED: _Place(owner=SqliteRedelivery, method="retry"),
    LaterStep.DISCARD_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("discarded_insert")),
    LaterStep.DISCARD_COMMITTED: _Place(owner=SqliteRedelivery, method="discard"),
    LaterStep.REPLAY_WRITTEN: _Place(owner=Transaction, method="execute_many", matters=_query("outbox_from_sent")),
    LaterStep.REPLAY_COMMITTED: _Place(owner=SqliteRedelivery, method="put_back"),
    LaterStep.CORRECTION_WRITTEN: _Place(owner=Transaction, method="execute", matters=_query("correction_insert")),
    LaterStep.CORRECTION_COMMITTED: _Place(owner=SqliteCorrectionBook, method="add"),
}


def step_named(name: str) -> Step | LaterStep:
    return Step[name] if name in Step.__members__ else LaterStep[name]


def arm(step: Step | LaterStep, passes: int) -> None:
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
