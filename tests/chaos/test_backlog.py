"""Very many pending events: a restart takes seconds, memory stays bounded, all go out once and in order."""

import sys
from pathlib import Path

import pytest

from tests.chaos.backlog import run_backlog

EVENTS = 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak of memory")
def test_a_restart_takes_seconds_and_memory_stays_bounded(tmp_path: Path) -> None:
    figures = run_backlog(tmp_path, EVENTS, timeout_s=120)
    assert figures.missing == 0
    assert figures.repeated <= 100  # the batch that was under way when it was killed
    assert figures.out_of_order == 0
    assert figures.sends_again_s < 20
    assert figures.peak_mib - figures.idle_mib < 64
