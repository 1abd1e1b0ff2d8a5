"""A metering service that fails most requests, in every way that it can, and what is left of a delivery through it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from spanmeter.clock import SystemClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.database import Database
from spanmeter.store.outbox import SqliteDeliveryLog, SqliteOutbox
from spanmeter.testing.faults import Answer, Fault, Garbage, HangUp, Slow, TakeAndHangUp
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import eventually
from tests.chaos.books import body_of, dead_letters, fill, usage_event

FAULTY = 0.7
"""Of all requests."""
POISONED = 0.01
"""Of all events."""
TIMEOUT_S = 0.15
"""Of the client: what is slower has been taken without its knowing."""
DEADLINE_S = 120.0
FAST = Pace(
    batch_events=25,
    in_flight=4,
    interval_s=0.01,
    backoff_base_s=0.002,
    backoff_cap_s=0.02,
    halt_s=0.02,
    fuse_events=1_000_000,
)

_PROBLEM = {"content-type": "application/problem+json"}
_KINDS: dict[str, Callable[[random.Random], Fault]] = {
    "status": lambda chance: Answer(
        status=chance.choice([500, 502, 503, 504, 408, 425, 429, 599]),
        headers=_PROBLEM,
        body=chance.choice([b"", b'{"detail":"no"}', b"<html>", b'{"det', b"\xff\xfe"]),
    ),
    "429 with Retry-After": lambda _: Answer(status=429, headers={"retry-after": "0"}),
    "401, 403 or 404": lambda chance: Answer(status=chance.choice([401, 403, 404]), headers=_PROBLEM),
    "reset": lambda _: HangUp(),
    "timeout, then taken": lambda _: Slow(delay_s=2 * TIMEOUT_S),
    "taken, no answer": lambda _: TakeAndHangUp(),
    "garbage": lambda _: Garbage(),
    "truncated status": lambda _: Garbage(data=b"HTTP/1.1 20"),
    "truncated headers": lambda _: Garbage(data=b"HTTP/1.1 503 Service Unavailable\r\ncontent-le"),
    "truncated body": lambda _: Garbage(data=b'HTTP/1.1 500 No\r\ncontent-length: 900\r\n\r\n{"detail":"'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StormFigures:
    """`repeated` events were taken more than once and dropped by their id. `tokens` and `received` are by tenant."""

    events: int
    requests: int
    faults: Counter[str]
    poisoned: int
    buried: int
    received: int
    repeated: int
    due_tokens: Counter[str]
    received_tokens: Counter[str]
    seconds: float
    problems: list[str]


class Storm:
    """An endless iterator of faults, which counts them."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Fault | None]:
        kinds = [*_KINDS]
        while True:
            kind = self._chance.choice(kinds) if self._chance.random() < FAULTY else ""
            self.counts[kind or "none"] += 1
            yield _KINDS[kind](self._chance) if kind else None


def run_storm(folder: Path, events: int, *, seed: int, v1: bool) -> StormFigures:
    """Deliver so many events from a real database over real HTTP. `v1`: the service does not name the bad events."""
    chance = random.Random(seed)
    poisoned = set(chance.sample(range(events), round(events * POISONED)))
    made = [usage_event(number) for number in range(events)]
    due: Counter[str] = Counter()
    for number, event in enumerate(made):
        if number not in poisoned:
            due[event.subject] += event.tokens
    begun_s = time.monotonic()
    with ExitStack() as stack:
        database = stack.enter_context(closing(Database.open(folder)))
        fill(database, ((event, body_of(event, poisoned=number in poisoned)) for number, event in enumerate(made)))
        storm = Storm(seed)
        service = stack.enter_context(MeteringService(faults=iter(storm)))
        url = service.v1_url if v1 else service.url
        client = stack.enter_context(EventsClient(url, clock=SystemClock(), timeout_s=TIMEOUT_S, connections=4))
        outbox = SqliteOutbox(database)
        courier = Courier(
            outbox,
            client,
            log=SqliteDeliveryLog(database),
            clock=SystemClock(),
            random=chance.random,
            pace=FAST,
        )
        stop = threading.Event()
        thread = threading.Thread(target=courier.run, args=(stop,), name="courier")
        thread.start()
        try:
            emptied = eventually(lambda: outbox.depth() == 0, timeout_s=DEADLINE_S)
        finally:
            stop.set()
            thread.join()
        time.sleep(3 * TIMEOUT_S)  # the last slow request ends
        received: Counter[str] = Counter()
        for taken in service.events:
            received[taken["subject"]] += taken["data"]["tokens"]
        ids = [taken["id"] for taken in service.events]
        dead = set(dead_letters(folder))
    problems = [] if emptied else ["not everything was sent in time"]
    if dead != {made[number].id for number in poisoned}:
        problems.append(f"dead letters and not poisoned, or the reverse: {dead ^ {made[n].id for n in poisoned}}")
    if set(ids) != {event.id for number, event in enumerate(made) if number not in poisoned}:
        problems.append("sent and received differ")
    if len(ids) != len(set(ids)):
        problems.append("an event was taken twice")
    if received != due:
        problems.append(f"tokens due {due}, received {received}")
    return StormFigures(
        events=events,
        requests=len(service.requests),
        faults=storm.counts,
        poisoned=len(poisoned),
        buried=len(dead),
        received=len(ids),
        repeated=service.duplicates,
        due_tokens=due,
        received_tokens=received,
        seconds=time.monotonic() - begun_s,
        problems=problems,
    )
