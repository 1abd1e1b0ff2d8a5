"""Where events wait to be sent: the protocols of delivery, and SQLite behind them."""

import functools
import itertools
import json
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from spanmeter.store.database import Database
from spanmeter.store.statements import Transaction


class Pending(NamedTuple):
    """An event that waits. `seq` is its place in line, `body` its JSON as it goes on the wire, never to be changed."""

    seq: int
    body: bytes


_pending = functools.partial(tuple.__new__, Pending)
"""`Pending._make` for every event that is ever sent."""


class Outbox(Protocol):
    """Events in the order of `seq`, each in one of four states: pending, leased, acknowledged, dead.

        pending ⇄ leased → acknowledged | dead          lease, release; ack, bury

    Acknowledged and dead are final for delivery: such an event is never leased again (a replay makes it pending by
    other means). A lease lives as long as the process that holds it: after a kill at any moment, or when the outbox
    is opened anew, what was leased is pending again. Several threads may call; several processes that share an
    outbox never hold a lease on the same event.

    `ack` and `bury` are idempotent, and settle an event whether it is leased or pending: the service's answer is a
    fact, even when the lease was lost meanwhile. They leave alone what is already acknowledged or dead, and ignore
    numbers that they do not know, as `release` does with everything that is not leased. Every method may raise
    StoreError; then nothing of what was asked has happened and the same call may be made again.
    """

    def lease(self, limit_events: int, limit_bytes: int) -> Sequence[Pending]:
        """The oldest pending events, in order, now leased; empty when nothing is pending.

        At most `limit_events`; their bodies together at most `limit_bytes`, except that the oldest is handed out
        even if it alone is longer. A younger event never overtakes an older one to fill the bytes.
        """
        ...

    def ack(self, seqs: Sequence[int], *, at_ns: int) -> None:
        """The service took them at `at_ns`. Durable on return."""
        ...

    def release(self, seqs: Sequence[int]) -> None:
        """Back to pending, at their old places in line."""
        ...

    def bury(self, seqs: Sequence[int], *, status: int, reason: str, at_ns: int) -> None:
        """Dead letters: refused with this HTTP status and in these words of the service. Durable on return."""
        ...

    def depth(self) -> int:
        """How many are not settled: pending and leased together."""
        ...


class DeliveryLog(Protocol):
    """What `spanmeter status` knows of delivery. The newest of the three calls says how things stand.

    Each call replaces what an earlier call of the same name said. Calls need not be durable on return. An error
    keeps its text after a later success, so that an operator can see what happened.
    """

    def succeeded(self, *, at_ns: int) -> None:
        """A batch was taken. Called at most once a second while all goes well."""
        ...

    def delayed(self, *, at_ns: int, error: str) -> None:
        """A batch will be tried again by itself."""
        ...

    def halted(self, *, at_ns: int, error: str, hint: str) -> None:
        """Nothing is sent until a person does what `hint` says; called again at each vain trial, once a minute."""
        ...


class SqliteOutbox:
    """`Outbox` in the database. Leases are in memory: they vanish with the process, as they should.

    Only the process that holds the folder's worker lock may lease; see `spanmeter.worker`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leased: set[int] = set()
        self._leased_to = 0  # none beyond it is leased
        self._lock = threading.Lock()

    def lease(self, limit_events: int, limit_bytes: int) -> Sequence[Pending]:
        with self._lock:
            free = self._free(limit_events)
            if sum([len(body) for _, body in free]) > limit_bytes:
                free = free[: _fitting(free, limit_bytes)]
            if free:
                self._leased.update([seq for seq, _ in free])
                self._leased_to = max(self._leased_to, free[-1][0])
            return [*map(_pending, free)]

    def _free(self, limit: int) -> list[tuple[int, bytes]]:
        """The oldest that are not leased. While nothing was put back, they all lie beyond those that are."""
        if self._database.execute_in_turn("outbox_depth_to", self._leased_to)[0][0] == len(self._leased):
            return self._database.execute_in_turn("outbox_after", self._leased_to, limit)
        return self._database.execute_in_turn("outbox_without", json.dumps([*self._leased]), limit)

    def ack(self, seqs: Sequence[int], *, at_ns: int) -> None:
        with self._lock:
            with self._database.transaction() as transaction:
                ranges = _ranges(transaction, seqs)
                transaction.execute_many("sent_insert", [(at_ns, *range_) for range_ in ranges])
                transaction.execute_many("outbox_delete", ranges)
            self._leased.difference_update(seqs)

    def release(self, seqs: Sequence[int]) -> None:
        with self._lock:
            self._leased.difference_update(seqs)

    def bury(self, seqs: Sequence[int], *, status: int, reason: str, at_ns: int) -> None:
        with self._lock:
            with self._database.transaction() as transaction:
                transaction.execute_many("dead_letter_insert", [(at_ns, status, reason, seq) for seq in seqs])
                transaction.execute_many("outbox_delete", _ranges(transaction, seqs))
            self._leased.difference_update(seqs)

    def depth(self) -> int:
        count: int = self._database.execute("outbox_depth")[0][0]
        return count


def _fitting(free: Sequence[tuple[int, bytes]], limit_bytes: int) -> int:
    """How many of the first keep to the limit together; one in any case."""
    sizes = itertools.accumulate(len(body) for _, body in free)
    return max(1, sum(size <= limit_bytes for size in sizes))


def _ranges(transaction: Transaction, seqs: Collection[int]) -> list[tuple[int, int]]:
    """First and last of runs that hold these, as far as they are in the outbox, and nothing else of it."""
    if not seqs:
        return []
    wanted = set(seqs)
    first, last = min(wanted), max(wanted)
    there = [*itertools.chain.from_iterable(transaction.execute("outbox_between", first, last))]
    if wanted.issuperset(there):
        return [(first, last)]
    ranges: list[tuple[int, int]] = []
    is_in_run = False
    for seq in there:
        if seq in wanted:
            ranges.append((ranges.pop()[0] if is_in_run else seq, seq))
        is_in_run = seq in wanted
    return ranges


class SqliteDeliveryLog:
    """`DeliveryLog` in the database, for other processes to read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def succeeded(self, *, at_ns: int) -> None:
        self._write(delivery_state="delivering", last_delivery_ns=str(at_ns))

    def delayed(self, *, at_ns: int, error: str) -> None:
        self._write(delivery_state="retrying", last_error_ns=str(at_ns), last_error=error)

    def halted(self, *, at_ns: int, error: str, hint: str) -> None:
        self._write(delivery_state="halted", last_error_ns=str(at_ns), last_error=error, delivery_hint=hint)

    def _write(self, **facts: str) -> None:
        with self._database.transaction() as transaction:
            transaction.execute_many("fact_write", [*facts.items()])
