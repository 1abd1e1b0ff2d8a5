"""What became of a batch: a closed set, to be matched exhaustively.

Texts in a reply are the service's own words or the transport's, folded to one line, shortened, and free of the token.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The service has the whole batch (any 2xx). It says nothing about meters or customers: settlement does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Nothing is known to be wrong with the batch: the same bytes may be sent again, and must be until taken.

    The service may have taken the batch all the same (a lost answer); equal ids make the repetition harmless.
    `after_s` is what the service asked for (`Retry-After`, at most an hour), None where it asked for nothing.
    """

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The service will not have this batch, and nothing of it was stored: at least one event in it is to blame.

    `bad` are the indexes of the events that the service named, ascending; empty where it named none.
    """

    status: int
    detail: str
    bad: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """No event is to blame and repetition will not help: a person must mend something, and `hint` says what.

    `status` is None where no HTTP answer was had (TLS verification, an unreadable token).
    """

    status: int | None
    detail: str
    hint: str


Reply = Taken | Retry | Refused | Halted
