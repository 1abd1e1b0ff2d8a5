"""Every error that spanmeter raises on purpose.

    SpanmeterError
    ├── SettingsError            a setting's value is wrong (all mistakes at once)
    ├── RequestError             what a client sent cannot be taken; sending it again will not help
    │   ├── MalformedError       not OTLP, or broken in the middle
    │   ├── TooLargeError        over the size limit, as sent or after decompression
    │   └── UnsupportedError     a content type or encoding that OTLP does not have
    ├── StoreError               the data folder cannot be used as it is now
    │   ├── StoreBusyError       another process holds what this one needs
    │   │   └── ConflictError    it was decided without what is in the books by now: decide anew
    │   └── OverloadedError      more is waiting to be written than memory should hold; try again shortly
    ├── UsageError               a command was asked for something that does not exist
    └── BindingError             an application named a tenant or dimension that can be none (also a ValueError)

A message says what was being done, to what, and what was found; `hint` says what an operator can do about it.
"""

from collections.abc import Sequence


class SpanmeterError(Exception):
    """Base of all errors raised on purpose. `hint` is one line of advice, or None where there is none to give."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(SpanmeterError):
    """One or more settings are wrong. `problems` has one line for each, the variable's name first."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("settings: " + "; ".join(problems))
        self.problems = tuple(problems)


class RequestError(SpanmeterError):
    """A request that would fail again if it were sent again: permanent, in the words of the OTLP specification."""


class MalformedError(RequestError):
    """The body is not an OTLP trace request. The message says at which byte, line or JSON path it broke."""


class TooLargeError(RequestError):
    """The body exceeds the limit, as sent or after decompression."""


class UnsupportedError(RequestError):
    """The content type or content encoding is none that OTLP/HTTP has."""


class StoreError(SpanmeterError):
    """The data folder or its database cannot be read or written now. Nothing was acknowledged."""


class StoreBusyError(StoreError):
    """Another process holds the lock that this one needs."""


class ConflictError(StoreBusyError):
    """The books have what was taken for new, or another version of what was changed. Nothing was written."""


class OverloadedError(StoreError):
    """The queue in front of the journal is full. Nothing of this request was written; it may be sent again."""


class UsageError(SpanmeterError):
    """A command names something that does not exist or cannot be done."""


class BindingError(SpanmeterError, ValueError):
    """What an application binds in code can be no tenant or no dimension."""
