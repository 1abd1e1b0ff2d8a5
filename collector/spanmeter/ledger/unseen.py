"""What nobody is billed for since it is not seen: libraries without an instrumentation, calls without usage."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from spanmeter.store.database import Database
from spanmeter.store.ledger import SqliteLedger
from spanmeter.usage.event import event_model, rfc3339

MOST_LOOKED_AT: Final = 10_000
"""Calls without usage that are counted by model, the latest: `status` is to be quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenLibrary:
    """A library that `processes` of a program used without an instrumentation, in the last days."""

    library: str
    version: str
    program: str
    processes: int
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmeteredModel:
    """Calls of one model without usage."""

    model: str
    calls: int


def unseen_libraries(database: Database) -> list[UnseenLibrary]:
    return [
        UnseenLibrary(library=library, version=version, program=program, processes=processes, last=rfc3339(noted_ns))
        for library, version, program, processes, noted_ns in database.execute("unseen_read")
    ]


def unmetered_models(database: Database, *, since_ns: int = 0) -> list[UnmeteredModel]:
    """Most calls first, of the latest ten thousand held since `since_ns`."""
    recent = SqliteLedger(database).unmetered(since_ns=since_ns, limit=MOST_LOOKED_AT)
    counts = Counter(event_model(decision.call) for decision in recent)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [UnmeteredModel(model=model, calls=calls) for model, calls in ordered]
