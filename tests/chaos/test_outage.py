"""The service is away for a day: events pile up on disk, and then all of them go out, oldest first, once."""

import random
from contextlib import closing
from pathlib import Path

from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.client import EventsClient
from spanmeter.store.outbox import SqliteDeliveryLog, SqliteOutbox
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.metering_service import MeteringService
from tests.integration.books import Plant
from tests.spans import facts

DAY_S = 86_400.0
CALL_EVERY_S = 300.0
MOST_STEPS = 20_000


def test_a_day_without_the_service(tmp_path: Path) -> None:
    clock = ManualClock()
    with MeteringService() as away:
        port, url = away.port, away.url
    with (
        closing(Plant(tmp_path / "data", clock=clock)) as plant,
        EventsClient(url, clock=clock, timeout_s=5.0) as client,
    ):
        outbox = SqliteOutbox(plant.database)
        courier = Courier(
            outbox,
            client,
            log=SqliteDeliveryLog(plant.database),
            clock=clock,
            random=random.Random(7).random,
            pace=Pace(),
            spawn=at_once,
        )
        begun_s, calls, trials = clock.monotonic(), 0, 0
        while clock.monotonic() < begun_s + DAY_S:
            if clock.monotonic() >= begun_s + calls * CALL_EVERY_S:
                calls += 1
                plant.take(facts(calls, trace=calls, tenant="acme"))
            plant.settle()
            clock.advance(max(courier.step(), 1.0))
            trials += 1
        plant.run(10)
        assert outbox.depth() == 2 * calls
        assert trials < DAY_S / 15  # full jitter under a cap of a minute: two trials a minute
        back_s = clock.monotonic()
        with MeteringService(port=port) as service:
            for _ in range(MOST_STEPS):
                if not outbox.depth():
                    break
                clock.advance(courier.step())
        made = [seq_and_body[1] for seq_and_body in plant.database.execute("event_read", 0, 10 * calls)]
        assert [event["id"] for event in service.events] == [_id_of(body) for body in made]
        assert (len(made), service.duplicates) == (2 * calls, 0)
        assert len(service.batches) <= 3 + 2 * calls // Pace().batch_events
        assert clock.monotonic() - back_s < 65  # one last wait, then at full speed


def _id_of(body: bytes) -> str:
    import json

    event_id: str = json.loads(body)["id"]
    return event_id
