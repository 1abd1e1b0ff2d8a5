"""kill -9 under load from every kind of OTLP client: nothing acknowledged is lost, and nothing is billed twice."""

import logging
from collections.abc import Iterator

import pytest

from tests.crash.report import table_of
from tests.crash.steps import Step
from tests.crash.trial import Plan, run_trial

RANDOM_KILLS = 6


@pytest.fixture(autouse=True)
def quiet_exporters() -> Iterator[None]:
    """They meet a dead collector again and again, and say so."""
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def test_kill_9_at_every_step_and_at_random_loses_and_doubles_nothing() -> None:
    figures = run_trial(Plan(kills=[*Step, *[None] * RANDOM_KILLS], seed=7))
    found = figures.audit
    assert found.problems == []
    assert (found.lost, found.doubled) == (0, 0)
    assert 0 < found.acknowledged <= found.billed
    assert all(row.acknowledged + row.unknown == row.billed for row in found.rows), table_of(figures)
    assert len(found.rows) > 1
