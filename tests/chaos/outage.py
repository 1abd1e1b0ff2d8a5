"""The service is away for days or weeks of an injected clock: what piles up, and what becomes of it afterwards."""

import json
import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from spanmeter.clock import CautiousClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.outbox import Pending, SqliteDeliveryLog, SqliteOutbox
from spanmeter.store.retention import Retention
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.metering_service import MeteringService
from tests.integration.books import Plant
from tests.spans import facts

DAY_S = 86_400.0
DAY_NS = 86_400 * 10**9
PACE = Pace(in_flight=4)
MOST_STEPS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageFigures:
    """`held` is the most events that were leased, and with it in memory. `drained_s` is the injected clock's time from
    the service's return until all was taken, `latest` how many younger events came before one at most."""

    days: float
    events: int
    trials: int
    held: int
    drained_s: float
    batches: int
    latest: int
    problems: list[str]


def run_outage(folder: Path, *, days: float, call_every_s: float, look_every_s: float) -> OutageFigures:
    """One call every `call_every_s`; assembly, delivery and retention work all the time, at most every `look_every_s`.
    Retention is the default's: bodies 35 days, rows 800."""
    clock = ManualClock()
    with MeteringService() as away:
        port, url = away.port, away.url
    with (
        closing(Plant(folder / "data", clock=clock)) as plant,
        EventsClient(url, clock=clock, timeout_s=5.0) as client,
    ):
        outbox = _CountingOutbox(plant.database)
        cautious = CautiousClock(clock)
        retention = Retention(plant.database, body_ns=35 * DAY_NS, ledger_ns=800 * DAY_NS)
        log = SqliteDeliveryLog(plant.database)
        chance = random.Random(7).random
        courier = Courier(outbox, client, log=log, clock=clock, random=chance, pace=PACE, spawn=at_once)
        begun_s, calls, trials = clock.monotonic(), 0, 0
        prune_s = begun_s
        while clock.monotonic() < begun_s + days * DAY_S:
            while clock.monotonic() >= begun_s + calls * call_every_s:
                calls += 1
                plant.take(facts(calls, trace=calls, tenant="acme"))
            plant.settle()
            clock.advance(max(courier.step(), look_every_s))
            trials += 1
            if clock.monotonic() >= prune_s:
                prune_s = clock.monotonic() + DAY_S / 2
                while retention.step(cautious.now_ns()):
                    pass
        plant.run(10)
        problems = [] if outbox.depth() == 2 * calls else [f"{outbox.depth()} of {2 * calls} events wait"]
        made = [json.loads(body)["id"] if body else "" for _, body in plant.database.execute("event_read", 0, 10**9)]
        if "" in made:
            problems.append(f"{made.count('')} bodies were pruned and never sent")
        back_s = clock.monotonic()
        with MeteringService(port=port) as service:
            for _ in range(MOST_STEPS):
                if not outbox.depth():
                    break
                clock.advance(courier.step())
        taken = [made.index(event["id"]) for event in service.events]
    if sorted(taken) != [*range(len(made))] or service.duplicates:
        problems.append(f"{len(made)} events were made, {len(taken)} taken, {service.duplicates} twice")
    return OutageFigures(
        days=days,
        events=len(made),
        trials=trials,
        held=outbox.most,
        drained_s=clock.monotonic() - back_s,
        batches=len(service.batches),
        latest=max((max(taken[:place], default=0) - number for place, number in enumerate(taken)), default=0),
        problems=problems,
    )


class _CountingOutbox(SqliteOutbox):
    """Knows the most that was leased at a time."""

    most = 0

    def lease(self, limit_events: int, limit_bytes: int) -> Sequence[Pending]:
        events = super().lease(limit_events, limit_bytes)
        self.most = max(self.most, len(self._leased))
        return events
