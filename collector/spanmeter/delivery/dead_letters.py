"""Dead letters, and what a person decides on them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from spanmeter.clock import Clock
from spanmeter.errors import UsageError
from spanmeter.store.redelivery import DeadLetter


class Graveyard(Protocol):
    """Where dead letters are. `retry` and `discard` are durable on return and say how many they moved: one that is no
    dead letter any more is left alone."""

    def dead_letters(self) -> Iterator[DeadLetter]: ...

    def discarded(self) -> Iterator[DeadLetter]: ...

    def retry(self, seqs: Sequence[int]) -> int: ...

    def discard(self, seqs: Sequence[int], *, why: str, at_ns: int) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSelection:
    """Which dead letters are meant: events by id, a status, and those whose `where` properties have these values;
    together they narrow. An empty selection means all, and has to be asked for by `everything`."""

    ids: tuple[str, ...] = ()
    status: int | None = None
    where: tuple[tuple[str, str], ...] = ()
    everything: bool = False

    def __post_init__(self) -> None:
        if not (self.ids or self.status is not None or self.where or self.everything):
            raise UsageError("which dead letters?", hint="name --id, --status or --where NAME=VALUE, or say --all")

    def includes(self, letter: DeadLetter) -> bool:
        if (self.ids and letter.id not in self.ids) or self.status not in (None, letter.status):
            return False
        if not self.where:
            return True
        known = letter_properties(letter)
        return all(known.get(name) == value for name, value in self.where)


def letter_properties(letter: DeadLetter) -> dict[str, str]:
    """What dead letters can be selected by: tenant, source, the service's words as `refusal`, and whatever is in the
    event's `data`: type, model, provider, dimensions."""
    data = cloudevent(letter).get("data")
    inside = data if isinstance(data, dict) else {}
    return {
        **{
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in inside.items()
        },
        "tenant": letter.subject,
        "source": letter.source,
        "refusal": letter.refusal,
    }


def cloudevent(letter: DeadLetter) -> dict[str, Any]:
    """The event as it was refused."""
    event: dict[str, Any] = msgspec.json.decode(letter.body)
    return event


class DeadLetters:
    """Shows, retries and gives up. Safe beside a running collector."""

    def __init__(self, graveyard: Graveyard, *, clock: Clock) -> None:
        self._graveyard = graveyard
        self._clock = clock

    def waiting(self, selection: LetterSelection) -> Iterator[DeadLetter]:
        """Those that wait for a decision, the oldest event first."""
        return filter(selection.includes, self._graveyard.dead_letters())

    def given_up(self, selection: LetterSelection) -> Iterator[DeadLetter]:
        return filter(selection.includes, self._graveyard.discarded())

    def find(self, event_id: str) -> list[DeadLetter]:
        """All with this id or one that begins so, waiting or given up. UsageError where there is none."""
        everything: Iterable[Callable[[], Iterator[DeadLetter]]] = (
            self._graveyard.dead_letters,
            self._graveyard.discarded,
        )
        found = [letter for letters in everything for letter in letters() if letter.id.startswith(event_id)]
        exact = [letter for letter in found if letter.id == event_id]
        if not found:
            raise UsageError(f"{event_id}: no dead letter has this id", hint="`spanmeter dead-letters list` shows them")
        return exact or found

    def retry(self, selection: LetterSelection) -> int:
        """Put them back into the outbox, with the ids and bodies that they had; how many."""
        return self._graveyard.retry([letter.seq for letter in self.waiting(selection)])

    def discard(self, selection: LetterSelection, *, why: str) -> int:
        """Give them up: nobody is billed for them. They stay in the ledger with the time and the reason; how many."""
        if not why.strip():
            raise UsageError("no reason given", hint="--reason says why nobody is billed; it is kept")
        chosen = [letter.seq for letter in self.waiting(selection)]
        return self._graveyard.discard(chosen, why=why.strip(), at_ns=self._clock.now_ns())
