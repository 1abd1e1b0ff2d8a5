"""Very many pending events: a restart takes seconds, memory stays bounded, all go out once and in order."""

import sys
from pathlib import Path

import pytest

from tests.chaos.backlog import drain_rate, run_backlog

EVENTS = 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak of memory")
def test_a_restart_takes_seconds_and_memory_stays_bounded(tmp_path: Path) -> None:
    figures = run_backlog(tmp_path, EVENTS, timeout_s=120)
    assert figures.missing == 0
    assert figures.repeated <= 5 * 100  # the batches that were under way when it was killed, or not written as taken
    assert figures.latest <= 5 * 100
    assert figures.sends_again_s < 20
    assert figures.peak_mib - figures.idle_mib < 64


def test_several_batches_in_flight_hide_the_service_s_latency(tmp_path: Path) -> None:
    alone, together = (drain_rate(tmp_path / str(n), 4_000, in_flight=n, timeout_s=60) for n in (1, 4))
    assert together > 1.5 * alone  # 3.8 on a quiet machine
