"""A sender that answers by rule and remembers what it was asked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from spanmeter.delivery.courier import Courier
from spanmeter.delivery.flights import at_once
from spanmeter.delivery.pace import Pace
from spanmeter.openmeter.reply import Reply, Taken
from spanmeter.testing.clock import ManualClock
from spanmeter.testing.outbox import MemoryDeliveryLog, MemoryOutbox

Rule = Callable[[Sequence[bytes]], Reply]


def always_taken(bodies: Sequence[bytes]) -> Reply:
    return Taken()


class ScriptedSender:
    """Answers with the script while it lasts, by `rule` afterwards. An exception in the script is raised."""

    def __init__(self, script: Iterable[Reply | Exception] = (), rule: Rule = always_taken) -> None:
        self._script = iter(script)
        self.rule = rule
        self.sent: list[list[bytes]] = []
        self.timeouts: list[float | None] = []
        self.taken: list[bytes] = []

    def send(self, bodies: Sequence[bytes], *, timeout_s: float | None = None) -> Reply:
        self.sent.append(list(bodies))
        self.timeouts.append(timeout_s)
        reply = next(self._script, None) or self.rule(bodies)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Taken):
            self.taken.extend(bodies)
        return reply


def full_jitter() -> float:
    """The most that a draw can be: waits come out as their ceilings."""
    return 1.0


@dataclass(kw_only=True)
class Bench:
    """A courier between fakes."""

    sender: ScriptedSender
    pace: Pace = Pace()
    random: Callable[[], float] = full_jitter
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    log: MemoryDeliveryLog = field(default_factory=MemoryDeliveryLog)
    clock: ManualClock = field(default_factory=ManualClock)
    spawn: Callable[[Callable[[], None]], None] = at_once

    def __post_init__(self) -> None:
        self.courier = Courier(
            self.outbox,
            self.sender,
            log=self.log,
            clock=self.clock,
            random=self.random,
            pace=self.pace,
            sleep=self.clock.sleep,
            spawn=self.spawn,
        )

    def put(self, count: int) -> list[bytes]:
        bodies = [b"%d" % index for index in range(count)]
        self.outbox.put(bodies)
        return bodies

    def waits(self, requests: int) -> list[float]:
        """Steps, sleeping as told, until that many more requests were made; the wait that each of them returned."""
        found = []
        for _ in range(100 * requests):
            before = len(self.sender.sent)
            wait_s = self.courier.step()
            if len(self.sender.sent) > before:
                found.append(wait_s)
            if len(found) == requests:
                return found
            self.clock.advance(wait_s)
        raise AssertionError(f"{len(found)} of {requests} requests were made")

    def until_empty(self, *, limit_s: float = 86_400.0) -> None:
        end_s = self.clock.monotonic() + limit_s
        while self.outbox.depth():
            self.clock.advance(self.courier.step())
            assert self.clock.monotonic() < end_s, "time is over"
