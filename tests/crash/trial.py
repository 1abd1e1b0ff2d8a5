"""A trial: a collector under load from every kind of client, killed again and again, and what was billed in the end."""

import os
import random
import signal
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import eventually
from tests.acceptance.collector import serve_settings, status_of
from tests.crash.audit import Audit, audit
from tests.crash.clients import all_clients
from tests.crash.life import Life, lasting_port
from tests.crash.records import CALL_ATTRIBUTE, Records
from tests.crash.steps import Step

AT_RANDOM = "at a random moment"
AFTER_A_COMPANION = "at a random moment, a companion before"
WHILE_STARTING = "while it starts"
SETTLE_TIMEOUT_S = 240.0

SETTINGS: Mapping[str, str] = {
    "SPANMETER_DIMENSIONS": f"call={CALL_ATTRIBUTE}",
    "SPANMETER_TRACE_QUIET_S": "0.15",
    "SPANMETER_TRACE_MAX_S": "3",
    "SPANMETER_BATCH_INTERVAL_S": "0.05",
    "SPANMETER_BATCH_EVENTS": "50",
    "SPANMETER_MIN_FREE_MB": "0",
}
"""Decisions and deliveries go on all the time, so that a kill finds all of them under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`kills` by where they fell. `slowest_start_s` is from a start on the same folder until both ports listen."""

    kills: Counter[str]
    audit: Audit
    seconds: float
    slowest_start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Kills in their order: a step, or None for a random moment. With more than one of `processes`, a random moment is
    as often the end of a companion first, some time before that of the rest."""

    kills: list[Step | None]
    seed: int
    processes: int = 1
    told: Callable[[str], None] = field(default=lambda _: None)

    @classmethod
    def of(cls, kills: int, *, seed: int, processes: int = 1, told: Callable[[str], None] = lambda _: None) -> "Plan":
        """Half at named steps, each as often as the others, half at random, in a random order."""
        # Which process the clients' connections come to is chance: only steps that every life passes are named.
        steps = [step for step in Step if processes == 1 or not step.name.startswith("JOURNAL")]
        chosen: list[Step | None] = [*steps] * (kills // (2 * len(steps)))
        chosen += [None] * (kills - len(chosen))
        random.Random(seed).shuffle(chosen)
        return cls(kills=chosen, seed=seed, processes=processes, told=told)


def run_trial(plan: Plan) -> Figures:
    """Bounded: every wait has an end, and AssertionError says which was in vain."""
    chance = random.Random(plan.seed)
    begun_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanmeter-crash-")))
        service = stack.enter_context(MeteringService())
        environment = {
            **serve_settings(folder / "data", service=service),
            **SETTINGS,
            "SPANMETER_PROCESSES": str(plan.processes),
            "SPANMETER_OTLP_GRPC": f"127.0.0.1:{(grpc_port := lasting_port())}",
            "SPANMETER_OTLP_HTTP": f"127.0.0.1:{(http_port := lasting_port())}",
        }
        records = Records(plan.seed)
        clients = all_clients(records, grpc_port=grpc_port, http_port=http_port)
        lives: deque[Life] = deque()
        stack.callback(_stop_all, lives)

        def breed(step: Step | None) -> None:
            lives.append(Life(environment, folder / "log", step=step, passes=chance.randint(1, 12)))

        steps = [*plan.kills, None]
        breed(steps[0])
        for client in clients:
            client.start()
        kills: Counter[str] = Counter()
        starts_s: list[float] = []
        for number, step in enumerate(plan.kills):
            breed(steps[number + 1])
            where, start_s = _live(lives[0], step, records=records, chance=chance)
            kills[where] += 1
            starts_s.append(start_s)
            lives.popleft()
            plan.told(f"{number + 1}/{len(plan.kills)} {where}; {len(records.acknowledged)} calls acknowledged")
        last = lives[0]
        last.begin()
        assert last.wait_until_ready()
        for client in clients:
            client.stop()
        _wait_until_settled(folder / "data")
        found = audit(records, service, folder / "data")
        last.stop()
    return Figures(
        kills=kills, audit=found, seconds=time.monotonic() - begun_s, slowest_start_s=max(starts_s, default=0.0)
    )


def _stop_all(lives: Iterable[Life]) -> None:
    for life in lives:
        life.stop()


def _live(life: Life, step: Step | None, *, records: Records, chance: random.Random) -> tuple[str, float]:
    """Begin a life and see it killed: where, and how long its start took (0 if it died before it was ready)."""
    begun_s = time.monotonic()
    life.begin()
    if step is None and chance.random() < 0.2:
        life.kill_after(chance.uniform(0.0, 0.5))
        return WHILE_STARTING, 0.0
    ready = life.wait_until_ready()
    start_s = time.monotonic() - begun_s if ready else 0.0
    if step is None:
        assert ready, "died by itself"
        records.wait_for_more(chance.randint(1, 200), timeout_s=5.0)
        if (companions := life.companions()) and chance.random() < 0.5:
            os.kill(companions[0], signal.SIGKILL)
            records.wait_for_more(chance.randint(1, 200), timeout_s=5.0)
            life.kill_after(chance.uniform(0.0, 1.5))  # the next companion is on its way, or not
            return AFTER_A_COMPANION, start_s
        life.kill_after(chance.uniform(0.0, 0.3))
        return AT_RANDOM, start_s
    assert life.wait_for_death(), f"the step was never passed: {step}"
    return step.value, start_s


def _wait_until_settled(data_dir: Path) -> None:
    def is_settled() -> bool:
        status = status_of(data_dir)
        return status is not None and not status.undecided.spans and not status.delivery.pending

    assert eventually(is_settled, timeout_s=SETTLE_TIMEOUT_S), f"not settled: {status_of(data_dir)}"
