"""What is let go of, and when.

An event's encoded body is needed to send it again; its row (id, tenant, tokens) is the ledger and the guard against
billing it twice. So bodies go first and rows much later; both only when the event was sent, and neither while it waits,
is a dead letter, or was never sent to anybody. The file does not shrink: SQLite uses the freed pages for what is new.
"""

from spanmeter.store.database import Database

AT_ONCE = 2_000


class Retention:
    """Prunes in the order in which events were made, some thousands at a step."""

    def __init__(self, database: Database, *, body_ns: int, ledger_ns: int) -> None:
        self._database = database
        self._body_ns = body_ns
        self._ledger_ns = ledger_ns

    def step(self, now_ns: int) -> bool:
        """One transaction's worth of pruning; true if there is more."""
        facts = dict(self._database.execute("fact_read"))
        bodies = self._old(int(facts.get("bodies_pruned_to", "0")), now_ns - self._body_ns)
        rows = self._old(0, now_ns - self._ledger_ns, only_unneeded=True)
        if not bodies and not rows:
            return False
        with self._database.transaction() as transaction:
            transaction.execute_many("event_prune_body", [(seq,) for seq in bodies])
            if bodies:
                transaction.execute("fact_write", "bodies_pruned_to", str(bodies[-1]))
            transaction.execute_many("sent_prune", [(seq,) for seq in rows])
            transaction.execute_many("event_prune", [(seq,) for seq in rows])
            transaction.execute("held_prune", now_ns - self._ledger_ns)
        return len(bodies) == AT_ONCE or len(rows) == AT_ONCE

    def _old(self, after: int, before_ns: int, *, only_unneeded: bool = False) -> list[int]:
        query = "event_unneeded_after" if only_unneeded else "event_after"
        found = []
        for seq, made_ns in self._database.execute(query, after, AT_ONCE):
            if made_ns >= before_ns:
                break
            found.append(seq)
        return found
