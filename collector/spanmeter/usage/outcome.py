"""What becomes of a span: exactly one outcome each, with the reason."""

from enum import StrEnum


class Outcome(StrEnum):
    """The closed set. Every span received ends in one of these, and the counts of all add up to what was received."""

    __hash__ = str.__hash__  # Enum's own is Python, and these are keys of the innermost loops

    BILLED = "billed"
    DUPLICATE = "duplicate"
    """The same call as one that has an outcome of its own."""
    AGGREGATE = "aggregate"
    """A sum over calls that are accounted for themselves."""
    PARKED = "parked"
    """Cannot be billed until a person decides: nobody, or more than one, to bill; or a sum without its parts."""
    UNMETERED = "unmetered"
    """An LLM call whose tokens are not on the wire."""
    ESTIMATED = "estimated"
    """Counts that the instrumentation guessed."""
    IGNORED = "ignored"
    """No LLM call."""
    INVALID = "invalid"
    """Counts or ids that cannot be believed."""


class Reason(StrEnum):
    """Why. Together with the outcome this names the rule that decided."""

    __hash__ = str.__hash__  # Enum's own is Python, and these are keys of the innermost loops

    OWN_CALL = "call"
    RESENT = "same span again"
    PART = "part of a sum that was billed"
    CARRIED_OVER = "counted in the next call of its tool loop"
    SAME_RESPONSE = "same response id"
    NESTED = "same call further inside"
    SIDE_BY_SIDE = "same call side by side"
    SUM = "sum over its calls"
    NO_TENANT = "no tenant"
    TENANT_CONFLICT = "tenant conflict"
    SOLE_AGGREGATE = "sum without its calls"
    SOLE_SOURCE = "the only record of its calls"
    ESTIMATE = "counts are a guess"
    NO_USAGE = "no usage"
    STREAM_WITHOUT_USAGE = "stream without usage"
    FAILED = "failed without usage"
    NOT_AN_LLM_SPAN = "not an LLM span"
    NO_CALL = "operation calls no model"
    BAD_COUNTS = "unbelievable counts"
    BAD_IDS = "ids of a wrong length"
    DISCARDED = "discarded by a person"
    RESPONSE_CONFLICT = "response id reused with other counts"
    """Billed, by its span: the response id had been billed with other counts."""


def is_final(outcome: Outcome, reason: Reason) -> bool:
    """Whether later spans of the trace cannot change it: the event may be with the service, or a person has decided."""
    return outcome is Outcome.BILLED or reason is Reason.DISCARDED


def uninteresting(*, spans: int, llm_spans: int, rejected: int) -> dict[tuple[Outcome, Reason], int]:
    """Outcomes of the spans that never reach assembly as such: those that are no LLM spans, and those rejected."""
    counts = {
        (Outcome.IGNORED, Reason.NOT_AN_LLM_SPAN): spans - llm_spans - rejected,
        (Outcome.INVALID, Reason.BAD_IDS): rejected,
    }
    return {key: number for key, number in counts.items() if number}
