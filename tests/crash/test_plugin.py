"""kill -9 of the plug-in's host: the short form of `python -m tests.crash.plugin --kills 200`."""

import pytest

from tests.crash.plugin import run_kills


@pytest.mark.parametrize("flush_ms", [0, 500])
def test_nothing_is_doubled_and_lost_is_what_the_flush_time_allows(flush_ms: int) -> None:
    """500 ms, since a test machine's disk may be slow; the command shows it for 100."""
    figures = run_kills(6, flush_ms=flush_ms, seed=3)
    assert figures.calls > 20
    assert (figures.lost, figures.doubled) == (0, 0), figures.line(flush_ms)
