"""Sends events of the past again, under the ids that they had."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from spanmeter.clock import Clock
from spanmeter.errors import UsageError
from spanmeter.store.redelivery import Past, Whereabouts

SAFE_AGE_H = 24
"""How long after it was taken an event may be sent again without a word. The service drops a repeated id for a window:
Konnect states none; OpenMeter's documentation says 32 days, its code 24 hours where deduplication is on and nothing
else is configured. The shortest of them counts: after it, a repeated event is billed a second time."""
_SAFE_AGE_NS = SAFE_AGE_H * 3600 * 1_000_000_000


class Archive(Protocol):
    """The events of the past, by the time of their calls. `put_back` is durable on return and says how many it moved
    into the outbox: what is there already, or was refused, is left alone."""

    def past(self, *, from_ns: int, to_ns: int, subject: str = "") -> Iterator[list[Past]]: ...

    def count_past(self, *, from_ns: int, to_ns: int, subject: str = "") -> int: ...

    def put_back(self, seqs: Collection[int]) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRange:
    """Events of calls that ended from `from_ns` (inclusive) to `to_ns` (exclusive). `subject` narrows to one tenant,
    `local_only` to events recorded while there was no service."""

    from_ns: int
    to_ns: int
    subject: str = ""
    local_only: bool = False


@dataclass(slots=True, kw_only=True)
class ReplayResult:
    """`put_back` events by where they had been; `left` those in the range that stay, by where they are. `too_old` are
    the events that were taken more than `SAFE_AGE_H` hours ago, put back or not."""

    put_back: Counter[Whereabouts] = field(default_factory=Counter)
    left: Counter[Whereabouts] = field(default_factory=Counter)
    too_old: int = 0


_REPLAYABLE = (Whereabouts.SENT, Whereabouts.SETTLED, Whereabouts.LOCAL)


class Replay:
    """Two passes: the first looks and refuses the whole range for one event that is too old, the second moves."""

    def __init__(self, archive: Archive, *, clock: Clock) -> None:
        self._archive = archive
        self._clock = clock

    def count(self, chosen: ReplayRange) -> int:
        """How many events `plan` and `run` pass through, for a progress display."""
        return self._archive.count_past(from_ns=chosen.from_ns, to_ns=chosen.to_ns, subject=chosen.subject)

    def plan(self, chosen: ReplayRange, *, progress: Callable[[int], None] = lambda _: None) -> ReplayResult:
        """What `run` would do; nothing is changed."""
        return self._pass(chosen, progress, len)

    def run(
        self, chosen: ReplayRange, *, force: bool = False, progress: Callable[[int], None] = lambda _: None
    ) -> ReplayResult:
        """Put the range back into the outbox, in steps of which each is durable. `progress` hears after each how many
        events were passed. Raises UsageError, with nothing changed, where one was taken more than `SAFE_AGE_H` hours
        ago, unless `force`."""
        if not force:
            check(self.plan(chosen))
        return self._pass(chosen, progress, self._archive.put_back)

    def _pass(
        self, chosen: ReplayRange, progress: Callable[[int], None], put_back: Callable[[list[int]], int]
    ) -> ReplayResult:
        result = ReplayResult()
        for events in self._archive.past(from_ns=chosen.from_ns, to_ns=chosen.to_ns, subject=chosen.subject):
            wanted = (Whereabouts.LOCAL,) if chosen.local_only else _REPLAYABLE
            oldest_ns = self._clock.now_ns() - _SAFE_AGE_NS
            for where in Whereabouts:
                there = [event for event in events if event.where is where]
                moved = 0
                if there and where in wanted:
                    result.too_old += sum(0 < event.sent_ns < oldest_ns for event in there)
                    moved = put_back([event.seq for event in there])
                result.put_back += Counter({where: moved})
                result.left += Counter({where: len(there) - moved})
            progress(len(events))
        return result


def check(result: ReplayResult) -> None:
    """Raises UsageError where events are too old to be sent again without a word."""
    if result.too_old:
        raise UsageError(
            f"{result.too_old:,} of these events were taken by the service more than {SAFE_AGE_H} h ago",
            hint="a service that has forgotten their ids bills them twice. Konnect states no window, OpenMeter's "
            "documentation says 32 days where it is configured; if you know yours, say --force",
        )
