"""Settlement alone, as the settings in the environment have it, but without its waits of minutes."""

from collections.abc import Mapping

from spanmeter.clock import SystemClock
from spanmeter.delivery.settler import SettlePace, Settler
from spanmeter.openmeter.listing import listing_for
from spanmeter.openmeter.reading import ServiceReader
from spanmeter.settings import load
from spanmeter.store.database import Database
from spanmeter.store.settlement import SqliteSettlementBook
from spanmeter.wiring import configured_events_url, token_source

MOST_STEPS = 100
HASTE = SettlePace(first_look_s=0.0, grace_s=0.0, round_s=60.0, skew_s=3600.0)


def settle(environ: Mapping[str, str]) -> None:
    """Reads back what was sent, and puts what is not there back into the outbox."""
    settings = load(environ)
    clock = SystemClock()
    url = configured_events_url(settings)
    database = Database.open(settings.data_dir)
    with ServiceReader(clock=clock, token=token_source(settings)) as reader:
        listing = listing_for(
            url, lambda query: reader.get(url, query), source=settings.event_source, now_ns=clock.now_ns
        )
        assert listing is not None
        book = SqliteSettlementBook(database, source=settings.event_source)
        settler = Settler(book, listing, clock=clock, pace=HASTE)
        for _ in range(MOST_STEPS):
            settler.step()
            if not database.execute("settlement_depths")[0][0]:
                break
    database.close()
