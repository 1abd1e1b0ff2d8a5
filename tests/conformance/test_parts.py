"""Cache and reasoning told apart, wherever they are on the wire."""

import collections

import pytest

from spanmeter.usage.call import TokenClass
from tests.corpus.cases import FOLDER, Bill, Case, bill, read_case, settle

PARTS = ("cache_read", "cache_write", "reasoning")


def visible(case: Case, part: str) -> bool:
    """Whether the part is known to be on the wire for every call that can be billed and has it."""
    return all(
        call[f"{part}_visible"] is True
        for call in case.calls
        if call["usage_visible"] and call["tenant_reachable"] and call[f"{part}_tokens"]
    )


def expected(case: Case, part: str) -> Bill:
    want: Bill = collections.Counter()
    for call in case.calls:
        if call["usage_visible"] and call["tenant_reachable"]:
            want[call["tenant"], part] += call[f"{part}_tokens"]
    return +want


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.zip"))])
def test_case(name: str) -> None:
    case = read_case(FOLDER / f"{name}.zip")
    billed = bill(settle(case, classes=tuple(TokenClass)))
    wrong = {
        part: (found, expected(case, part))
        for part in PARTS
        if visible(case, part)
        and (found := Bill({key: n for key, n in billed.items() if key[1] == part})) != expected(case, part)
    }
    assert not wrong
    sides = collections.Counter[tuple[str, str]]()
    for (tenant, token_class), tokens in billed.items():
        sides[tenant, "output" if token_class in ("output", "reasoning") else "input"] += tokens
    assert sides == case.expected()
