"""Clients' records against what the service took and what the ledger holds: nothing lost, nothing doubled."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanmeter.store.database import FILE_NAME
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.collector import status_of
from tests.crash.records import Call, Records
from tests.integration.indexes import KEYS, indexes

Bill = tuple[str, str, int]
"""Subject, token class, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """Tokens of one tenant. `unknown` were billed and never acknowledged: the answer was lost, not the call."""

    tenant: str
    acknowledged: int
    billed: int
    unknown: int
    lost: int
    doubled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """`sent_again` counts events that the service was given more than once, each time with the same bytes: it drops
    them by their id. `problems` is empty if everything is as promised."""

    calls: int
    rows: list[TenantRow]
    sent_again: int
    problems: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        return sum(row.acknowledged for row in self.rows)

    @property
    def billed(self) -> int:
        return sum(row.billed for row in self.rows)

    @property
    def lost(self) -> int:
        return sum(row.lost for row in self.rows)

    @property
    def doubled(self) -> int:
        return sum(row.doubled for row in self.rows)


def audit(records: Records, service: MeteringService, data_dir: Path) -> Audit:
    """To be called when everything is settled and nobody sends any more."""
    acknowledged, sent = records.acknowledged, {call.name: call for call in records.sent}
    taken = _bills(service.events)
    made = _bills(_ledger(data_dir))
    status = status_of(data_dir)
    assert status is not None
    differing = sorted(name for name in made.keys() | taken.keys() if made.get(name) != taken.get(name))
    problems = [f"the ledger has {name} as {made.get(name)}, the service {taken.get(name)}" for name in differing]
    problems += [f"billed, but never sent: {name}" for name in taken.keys() - sent.keys()]
    problems += [f"lost: {call}" for call in acknowledged if call.name not in taken]
    problems += [
        f"billed as {taken[name]}: {call}" for name, call in sent.items() if name in taken and taken[name] != _due(call)
    ]
    if not status.balanced:
        problems.append(f"the books do not balance: {status}")
    if status.undecided.spans or status.delivery.pending or status.delivery.dead_letters:
        problems.append(f"not settled: {status}")
    problems += _misfiled(data_dir)
    copies = Counter(json.dumps(event, sort_keys=True) for batch in service.batches for event in batch)
    if len(copies) != len(service.events):
        problems.append(f"{len(copies)} different events were sent under {len(service.events)} ids")
    return Audit(
        calls=len(sent),
        rows=_rows(sent.values(), {call.name for call in acknowledged}, taken),
        sent_again=copies.total() - len(copies),
        problems=problems,
    )


def _misfiled(data_dir: Path) -> list[str]:
    """What is not in one of its two indexes, or in both, and rows that refer to none."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as connection:
        problems = [f"refers to nothing: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    for table in KEYS:
        rows, young, old = indexes(data_dir / FILE_NAME, table)
        if rows != sorted([*young, *old]):
            problems.append(f"of {len(rows)} rows of {table} {len(young) + len(old)} are indexed")
    return problems


def _rows(sent: Iterable[Call], acknowledged: set[str], taken: Mapping[str, Counter[Bill]]) -> list[TenantRow]:
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in sent:
        calls[call.tenant].append(call)
    billed: Counter[str] = Counter()
    for bills in taken.values():
        for (subject, _, tokens), times in bills.items():
            billed[subject] += tokens * times
    rows = []
    for tenant in sorted(calls.keys() | billed.keys()):
        known = {call.name for call in calls[tenant] if call.name in acknowledged}
        lost = doubled = 0
        for call in calls[tenant]:
            bill, due = taken.get(call.name, Counter()), _due(call)
            doubled += sum(tokens * times for (_, _, tokens), times in (bill - due).items())
            if call.name in known:
                lost += sum(tokens * times for (_, _, tokens), times in (due - bill).items())
        rows.append(
            TenantRow(
                tenant=tenant,
                acknowledged=sum(call.tokens for call in calls[tenant] if call.name in known),
                billed=billed[tenant],
                unknown=sum(c.tokens for c in calls[tenant] if c.name not in known and c.name in taken),
                lost=lost,
                doubled=doubled,
            )
        )
    return rows


def _due(call: Call) -> Counter[Bill]:
    return Counter([(call.tenant, "input", call.input_tokens), (call.tenant, "output", call.output_tokens)])


def _bills(events: Iterable[Mapping[str, Any]]) -> dict[str, Counter[Bill]]:
    """By call, whatever the events' ids are."""
    bills: dict[str, Counter[Bill]] = defaultdict(Counter)
    for event in events:
        data = event["data"]
        bills[data["call"]][event["subject"], data["type"], data["tokens"]] += 1
    return dict(bills)


def _ledger(data_dir: Path) -> list[dict[str, Any]]:
    """Every event that was ever made."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as connection:
        return [json.loads(body) for (body,) in connection.execute("SELECT body FROM event")]
