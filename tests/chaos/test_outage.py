"""The service is away for a day, and for longer than bodies are kept: events pile up on disk, and then all of them go
out, the oldest first, once."""

from pathlib import Path

from tests.chaos.outage import DAY_S, PACE, run_outage

BATCHES = PACE.in_flight + 1


def test_a_day_without_the_service(tmp_path: Path) -> None:
    found = run_outage(tmp_path, days=1, call_every_s=300.0, look_every_s=1.0)
    assert found.problems == []
    assert found.trials < DAY_S / 15  # full jitter under a cap of a minute: two trials a minute
    assert found.batches <= 2 * BATCHES + found.events // PACE.batch_events
    assert found.latest <= BATCHES * PACE.batch_events
    assert found.drained_s < 65  # one last wait, then at full speed


def test_weeks_without_the_service_prune_nothing_and_hold_little_in_memory(tmp_path: Path) -> None:
    found = run_outage(tmp_path, days=42, call_every_s=7200.0, look_every_s=3600.0)
    assert found.problems == []
    assert found.events == 2 * 42 * 12
    assert found.held <= BATCHES * PACE.batch_events
    assert found.drained_s < 65
