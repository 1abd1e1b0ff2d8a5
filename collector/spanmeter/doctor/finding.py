"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`WRONG`: calls would not be billed, or not rightly. `WARNING`: odd, or not to be told from here."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`said` is what was found, `todo` what to do about it, empty where nothing is to be done."""

    check: str
    verdict: Verdict
    said: str
    todo: str = ""


def ok(check: str, said: str) -> Finding:
    return Finding(check=check, verdict=Verdict.OK, said=said)


def warning(check: str, said: str, todo: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, said=said, todo=todo)


def wrong(check: str, said: str, todo: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WRONG, said=said, todo=todo)
