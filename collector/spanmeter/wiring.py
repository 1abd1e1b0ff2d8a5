"""Assembler, courier and settler, as the settings have them."""

import functools
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from spanmeter.clock import Clock
from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import in_a_thread
from spanmeter.delivery.pace import Pace
from spanmeter.delivery.settler import Settler
from spanmeter.errors import SettingsError
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.endpoint import events_url
from spanmeter.openmeter.listing import listing_for
from spanmeter.openmeter.reading import Answer, ServiceReader
from spanmeter.pipeline.assembler import Assembler
from spanmeter.pipeline.configured import configured_rules
from spanmeter.settings import Settings, SettlementMode
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.ledger import SqliteLedger
from spanmeter.store.outbox import SqliteDeliveryLog, SqliteOutbox
from spanmeter.store.settlement import SqliteSettlementBook

NS = 1_000_000_000


def make_assembler(settings: Settings, database: Database, clock: Clock) -> Assembler:
    """An assembler as the settings have it, at the journal's beginning."""
    return Assembler(
        SqliteJournal(database),
        SqliteLedger(database),
        clock=clock,
        rules=configured_rules(settings),
        quiet_ns=int(settings.trace_quiet_s * NS),
        max_ns=int(settings.trace_max_s * NS),
        memory_ns=int(settings.memory_h * 3600 * NS),
        deliver=settings.delivers,
    )


def make_courier(
    settings: Settings,
    database: Database,
    clock: Clock,
    *,
    make_thread: Callable[..., threading.Thread] = threading.Thread,
) -> tuple[EventsClient, Courier]:
    """Client and courier as the settings have them; the caller closes the client. Requests run in threads as
    `make_thread` makes them."""
    client = EventsClient(
        configured_events_url(settings),
        clock=clock,
        token=token_source(settings),
        timeout_s=settings.send_timeout_s,
        connections=settings.batches_in_flight,
    )
    courier = Courier(
        SqliteOutbox(database),
        client,
        log=SqliteDeliveryLog(database),
        clock=clock,
        random=random.random,
        pace=Pace(
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            in_flight=settings.batches_in_flight,
            interval_s=settings.batch_interval_s,
        ),
        spawn=functools.partial(in_a_thread, make_thread=make_thread),
    )
    return client, courier


def make_settler(settings: Settings, database: Database, clock: Clock) -> tuple[ServiceReader, Settler] | None:
    """Reader and settler as the settings have them; the caller closes the reader. None where there is nothing to read
    back: no service, or one whose events endpoint is none that is known to have a listing, or it was switched off."""
    if not settings.delivers or settings.settlement is SettlementMode.OFF:
        return None
    url = configured_events_url(settings)
    reader = ServiceReader(clock=clock, token=token_source(settings), timeout_s=settings.send_timeout_s)

    def get(parameters: Mapping[str, str]) -> Answer:
        return reader.get(url, parameters)

    listing = listing_for(url, get, source=settings.event_source, now_ns=clock.now_ns)
    if listing is None:
        reader.close()
        return None
    return reader, Settler(SqliteSettlementBook(database, source=settings.event_source), listing, clock=clock)


def configured_events_url(settings: Settings) -> str:
    """The URL that events are sent to. Raises `SettingsError` where it is none, or a token would travel in clear."""
    return events_url(region=settings.konnect_region, endpoint=settings.endpoint or "", has_token=settings.has_token)


def token_source(settings: Settings) -> Callable[[], str] | None:
    """What gives the token for each request; None where there is none."""
    token, file = settings.konnect_token, settings.konnect_token_file
    if token is not None:
        return token.get_secret_value
    return None if file is None else functools.partial(_read_token, file)


def _read_token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError([f"KONNECT_TOKEN_FILE: {file}: {error.strerror}"]) from error
