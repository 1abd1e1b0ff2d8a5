"""Corrections: what was billed is never edited, an adjusting event is sent beside it."""

from typing import Any

import msgspec

from spanmeter.clock import Clock
from spanmeter.errors import StoreBusyError, UsageError
from spanmeter.store.correction import Correctable, CorrectionBook
from spanmeter.usage.event import UsageEvent

TRIES = 10


class Corrections:
    """Makes adjusting events: id `<id>-correction-<n>`, the original's tenant, model, class and dimensions, negative
    tokens, `correction_of` and `reason` in `data`."""

    def __init__(self, book: CorrectionBook, *, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    def adjust(
        self, event_id: str, *, tokens: int, reason: str, time_ns: int | None = None, again: bool = False
    ) -> UsageEvent:
        """Add `tokens`, which are negative but to take back an earlier correction. The adjustment counts at `time_ns`,
        None for the time of the original. In the outbox on return, or in the local ledger if the original is.

        Raises UsageError where the event is unknown, was refused by the service or is not sent yet, is a correction
        itself, or where the sum would be below zero or above what was billed first; and where the same tokens were
        adjusted for the same reason before, unless `again`: whoever asks may not know that the first command got
        through."""
        if not again:
            self._check_new(event_id, tokens, reason.strip())
        return self._adjust(event_id, tokens, reason, time_ns)

    def void(self, event_id: str, *, reason: str, time_ns: int | None = None) -> UsageEvent:
        """Take back all that is left of an event. Raises UsageError as `adjust` does, and where nothing is left."""
        return self._adjust(event_id, None, reason, time_ns)

    def _check_new(self, event_id: str, tokens: int, reason: str) -> None:
        for row in self._book.all():
            if (row.corrected, row.tokens, row.reason) == (event_id, tokens, reason):
                raise UsageError(
                    f"{event_id}: {tokens:+} tokens were adjusted for this reason already, by {row.id}",
                    hint="--again adjusts them once more",
                )

    def _adjust(self, event_id: str, tokens: int | None, reason: str, time_ns: int | None) -> UsageEvent:
        if not reason.strip():
            raise UsageError("no reason given", hint="--reason says why; it is kept and sent along")
        for _ in range(TRIES):
            original = self._original(event_id)
            left = original.tokens + original.adjusted
            by = -left if tokens is None else tokens
            _check(original, by, left)
            event = _adjusting(original, by, reason.strip(), time_ns)
            try:
                self._book.add(
                    original,
                    event,
                    msgspec.json.encode(event.cloudevent()),
                    reason=reason.strip(),
                    now_ns=self._clock.now_ns(),
                )
            except StoreBusyError:
                continue
            return event
        raise StoreBusyError(f"{event_id} is being corrected by others", hint="try again")

    def _original(self, event_id: str) -> Correctable:
        found = self._book.find(event_id)
        if not found:
            raise UsageError(
                f"{event_id}: no event has this id", hint="an event's id ends in its token class: …-input, …-output"
            )
        if len(found) > 1:
            sources = ", ".join(event.source for event in found)
            raise UsageError(f"{event_id}: there are events of this id from several sources: {sources}")
        return found[0]


def _check(original: Correctable, by: int, left: int) -> None:
    if original.is_correction:
        raise UsageError(
            f"{original.id} is a correction itself", hint="correct the event that it corrects; --tokens may be positive"
        )
    if original.where == "refused":
        raise UsageError(
            f"{original.id} was refused by the service: nothing was billed",
            hint="`spanmeter dead-letters discard` gives it up",
        )
    if original.where == "waiting":
        raise UsageError(
            f"{original.id} is still to be sent: were it refused, a correction would take from what was never billed",
            hint="correct it when the service has taken it; `spanmeter status` says how delivery stands",
        )
    if not original.body:
        raise UsageError(
            f"{original.id} is too old: only its counts are kept (SPANMETER_KEEP_BODIES_DAYS)",
            hint="correct it in Konnect, by a credit for the customer",
        )
    if by == 0:
        raise UsageError(f"{original.id}: there is nothing to correct, {left} tokens are left of {original.tokens}")
    if not 0 <= left + by <= original.tokens:
        raise UsageError(
            f"{original.id} was billed with {original.tokens} tokens, {left} are left: {by:+} would make {left + by}",
            hint="the sum may be from 0 to what was billed",
        )


def _adjusting(original: Correctable, by: int, reason: str, time_ns: int | None) -> UsageEvent:
    sent: dict[str, Any] = msgspec.json.decode(original.body)
    return UsageEvent(
        id=f"{original.id}-correction-{original.corrections + 1}",
        source=original.source,
        type=sent["type"],
        subject=original.subject,
        time_ns=original.time_ns if time_ns is None else time_ns,
        token_class=original.token_class,
        tokens=by,
        model=original.model,
        provider=original.provider,
        scope=original.scope,
        data=sent["data"] | {"tokens": by, "correction_of": original.id, "reason": reason},
    )
