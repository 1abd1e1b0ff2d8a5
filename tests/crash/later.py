"""kill -9 of what works on events after they were sent or refused: settlement, and the commands of an operator.

Each begins on a folder with events sent, refused and missing at the service, is killed at a step, and is done again to
its end. Then every event is in one place, none is lost, none was changed, and the service has each once.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from spanmeter.cli import main
from spanmeter.clock import SystemClock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.pace import Pace
from spanmeter.demo.stage import clean_environment
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.outbox import SqliteDeliveryLog
from spanmeter.testing.metering_service import MeteringService
from tests.crash.life import ROOT
from tests.crash.settling import settle
from tests.crash.steps import LaterStep
from tests.integration.events import Books, usage_event

SENT, MISSING, REFUSED = range(12), range(12, 18), range(18, 26)
"""Numbers of events: taken by the service, taken and not there, refused."""
RANGE = ("--from", "2020-01-01", "--to", "2100-01-01")
COMMANDS = {
    "settlement": ("settle",),
    "dead-letters retry": ("dead-letters", "retry", "--all"),
    "dead-letters discard": ("dead-letters", "discard", "--all", "--reason", "a test"),
    "replay": ("replay", *RANGE),
    "correct": ("correct", usage_event(0).id, "--tokens", "-3", "--reason", "a test"),
}
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterFigures:
    """Of one kill. `before` and `after`: events by the table they are in, after the kill and in the end."""

    step: LaterStep
    before: Counter[str]
    after: Counter[str]
    problems: list[str]


def kill_later(folder: Path, step: LaterStep) -> LaterFigures:
    """Kill the step's command there, do it again, deliver, and look at what has become of all events."""
    command = COMMANDS[step.value.partition(":")[0]]
    data_dir = folder / "data"
    with MeteringService() as service:
        environment = {
            **clean_environment(os.environ),
            "SPANMETER_DATA_DIR": str(data_dir),
            "SPANMETER_ENDPOINT": service.url,
        }
        bodies = _prepare(data_dir, service)
        code = _run(environment, step.name, "1", *command)
        problems = [] if code == -signal.SIGKILL else [f"was not killed, exit status {code}"]
        before = _places(data_dir, bodies, problems)
        _again(environment, command)
        _deliver(data_dir, service)
        after = _places(data_dir, bodies, problems)
        problems += _audit(service, bodies, after)
    return LaterFigures(step=step, before=before, after=after, problems=problems)


def _prepare(data_dir: Path, service: MeteringService) -> dict[str, bytes]:
    """The folder; all events by id."""
    books = Books(data_dir)
    with closing(books.database):
        made = [usage_event(number) for number in (*SENT, *MISSING, *REFUSED)]
        books.make(*made)
        bodies = dict(zip([event.id for event in made], books.bodies(), strict=True))
        now_ns = SystemClock().now_ns()
        taken = books.outbox.lease(len(SENT), 10**9)
        with EventsClient(service.url, clock=SystemClock()) as client:
            client.send([event.body for event in taken])
        books.outbox.ack([event.seq for event in taken], at_ns=now_ns)
        books.send(len(MISSING), at_ns=now_ns)
        books.refuse(at_ns=now_ns)
    return bodies


def _run(environment: dict[str, str], *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.doomed", *arguments],
        cwd=ROOT,
        env=environment,
        input=b"\n",
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    ).returncode


def _again(environment: dict[str, str], command: tuple[str, ...]) -> None:
    if command == ("settle",):
        settle(environment)
    else:
        CliRunner().invoke(main, command, env=environment, catch_exceptions=False)


def _places(data_dir: Path, bodies: dict[str, bytes], problems: list[str]) -> Counter[str]:
    """Events by table; what is in none, in two, or was changed, becomes a problem."""
    books = Books(data_dir)
    with closing(books.database):
        try:
            where = books.where()
        except AssertionError as error:
            problems.append(str(error))
            return Counter()
        kept = {json.loads(body)["id"]: body for body in books.bodies()}
    problems += [f"lost or changed: {event_id}" for event_id, body in bodies.items() if kept.get(event_id) != body]
    return Counter(where.values())


def _deliver(data_dir: Path, service: MeteringService) -> None:
    books = Books(data_dir)
    clock = SystemClock()
    with closing(books.database), EventsClient(service.url, clock=clock) as client:
        courier = Courier(
            books.outbox,
            client,
            log=SqliteDeliveryLog(books.database),
            clock=clock,
            random=random.random,
            pace=Pace(batch_events=5, in_flight=2),
        )
        courier.drain(TIMEOUT_S)


def _audit(service: MeteringService, bodies: dict[str, bytes], after: Counter[str]) -> list[str]:
    """What is sent or settled is at the service, once; what is refused or given up is not."""
    times = Counter(event["id"] for event in service.events)
    problems = [f"{event_id} is at the service {count} times" for event_id, count in times.items() if count > 1]
    problems += [
        f"the service has what was never made: {i}" for i in times if i.partition("-correction-")[0] not in bodies
    ]
    there, taken = len(times), after["sent"] + after["settled"]
    missing = len([number for number in MISSING if usage_event(number).id not in times])
    if there + missing != taken:
        problems.append(f"{taken} are booked as taken, the service has {there}, {missing} are missing there")
    if after["outbox"]:
        problems.append(f"{after['outbox']} were not delivered")
    if corrections := [i for i in times if "-correction-" in i][1:]:
        problems.append(f"corrected twice: {corrections}")
    copies = {json.dumps(event, sort_keys=True) for batch in service.batches for event in batch}
    if len(copies) != len(times):
        problems.append("an event was sent in two forms under one id")
    return problems
