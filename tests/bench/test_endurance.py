"""What an endurance run complains of."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.bench.endurance import Sample, Steady, complaints, memory_growth

STEADY = Steady(seconds=3600.0, rate=1_000.0, spans=50, connections=2)
SAMPLE = Sample(
    after_s=1.0,
    seconds=1.0,
    requests=20,
    errors=0,
    p50_ms=1.0,
    p99_ms=2.0,
    cpu=0.1,
    memory_mb=100.0,
    journal_rows=1,
    outbox_events=0,
    file_mb=1.0,
    log_mb=1.0,
)


def hour(memory_mb: Callable[[float], float], minutes: int = 60) -> list[Sample]:
    """Samples of every ten seconds; memory by the minute."""
    times = [10.0 * number for number in range(6 * minutes + 1)]
    return [replace(SAMPLE, after_s=after_s, memory_mb=memory_mb(after_s / 60)) for after_s in times]


def test_what_is_complained_of() -> None:
    steady = [SAMPLE] * 8
    assert not complaints(steady, STEADY)
    assert complaints([replace(SAMPLE, requests=10)] * 8, STEADY) == ["500 spans/s of 1,000"]
    assert complaints([*steady, replace(SAMPLE, errors=2)], STEADY) == ["2 requests failed"]


@pytest.mark.parametrize(
    "memory_mb",
    [
        lambda minute: 100.0,
        lambda minute: 80.0 + 10 * min(minute, 5.0),  # caches that fill
        lambda minute: 100.0 + 9 * (minute % 7 < 1),  # now and then more
        lambda minute: 130.0 - minute,
    ],
    ids=["flat", "warm-up", "peaks", "falling"],
)
def test_memory_that_does_not_grow(memory_mb: Callable[[float], float]) -> None:
    assert not complaints(hour(memory_mb), STEADY)


@pytest.mark.parametrize(
    ("memory_mb", "told"),
    [
        (lambda minute: 100.0 + 0.1 * minute, "memory grew from 101.4 to 105.1 MB, +6.0 MB an hour"),
        (
            lambda minute: 80.0 + 6 * min(minute, 5.0) + 0.1 * minute + 9 * (minute % 7 < 1),
            "memory grew from 111.6 to 115.3 MB, +6.0 MB an hour",
        ),
        (lambda minute: 100.0 + 10 * (minute > 50), "memory grew from 100.0 to 110.0 MB, +16.4 MB an hour"),
    ],
    ids=["leak", "leak behind a warm-up and peaks", "late"],
)
def test_memory_that_grows(memory_mb: Callable[[float], float], told: str) -> None:
    [complaint] = complaints(hour(memory_mb), STEADY)
    assert complaint == told


def test_a_short_run_cannot_tell() -> None:
    assert memory_growth(hour(lambda minute: 100.0 + minute, minutes=14)) is None
    assert memory_growth(hour(lambda minute: 100.0 + minute, minutes=16)) is not None
