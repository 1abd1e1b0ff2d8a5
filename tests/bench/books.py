"""A ledger that was in use for a month, made in a minute."""

from spanmeter.store.database import Database
from spanmeter.store.ledger import Settlement, SqliteLedger
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import UsageEvent

DAYS = 30
_AT_ONCE = 50_000
_NAMES = ("gpt-4o-mini-2024-07-18", "openai", "opentelemetry.instrumentation.openai_v2")
_ID_SPACE = 16**12


def fill_ledger(database: Database, number: int, *, now_ns: int, tenants: int, first: int = 0) -> None:
    """Events `first` to `number` of as many, over the last days. Their ids are spread evenly over those that may come,
    and grow with time: so they are written in one go, and what comes later falls between them at random."""
    ledger = SqliteLedger(database)
    begun_ns, step_ns = now_ns - DAYS * 86_400 * 10**9, DAYS * 86_400 * 10**9 // number
    for start in range(first, number, _AT_ONCE):
        settlement = Settlement()
        for place in range(start, min(start + _AT_ONCE, number)):
            call, side = divmod(place, 2)
            token_class = (TokenClass.INPUT, TokenClass.OUTPUT)[side]
            settlement.events.append(
                UsageEvent(
                    f"chatcmpl-{call * _ID_SPACE // (number // 2 + 1):012x}{first:018x}-{token_class}",
                    "spanmeter",
                    "kong.llm_request",
                    f"tenant-{call % tenants}",
                    begun_ns + 2 * call * step_ns,  # one time for all of a call
                    token_class,
                    17 + call % 5000,
                    *_NAMES,
                    {},
                )
            )
        settlement.bodies = [b""] * len(settlement.events)
        ledger.settle(settlement, now_ns=now_ns, deliver=False)
