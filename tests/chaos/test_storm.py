"""A service that fails 70 % of all requests: in the end everything has arrived, and exactly what is bad is buried."""

from pathlib import Path

import pytest

from tests.chaos.storm import run_storm

EVENTS = 1500


@pytest.mark.parametrize("v1", [False, True], ids=["bad events named", "bad events not named"])
def test_all_arrive_once_and_exactly_the_poisoned_are_dead_letters(tmp_path: Path, v1: bool) -> None:
    figures = run_storm(tmp_path / "data", EVENTS, seed=7, v1=v1)
    assert figures.problems == []
    assert figures.buried == figures.poisoned > 0
    assert figures.received == EVENTS - figures.poisoned
    assert figures.received_tokens == figures.due_tokens
    assert figures.faults.total() > 1.5 * (figures.faults["none"] + 1)
    assert figures.repeated > 0
