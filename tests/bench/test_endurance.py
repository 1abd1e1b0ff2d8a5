"""The endurance run in seconds, and what it would complain of; the command runs as long as it is told."""

from dataclasses import replace

from tests.bench.endurance import Sample, Steady, complaints, line_of, samples

STEADY = Steady(seconds=2.0, rate=1_000.0, spans=50, connections=2, look_every_s=0.5)
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


def test_a_steady_rate_is_kept_and_looked_at() -> None:
    found = [*samples(STEADY)]
    assert len(found) == 4
    assert 10 <= sum(each.requests for each in found) <= 50  # 40 on a machine that is free
    assert not any(each.errors for each in found)
    assert all(each.memory_mb > 20 and 0 < each.p50_ms <= each.p99_ms for each in found)
    assert sum(each.cpu for each in found) > 0
    assert found[-1].log_mb + found[-1].file_mb > 0
    assert "spans/s" in line_of(found, STEADY.spans)


def test_what_is_complained_of() -> None:
    steady = [SAMPLE] * 8
    assert not complaints(steady, STEADY)
    assert complaints([*steady, *[replace(SAMPLE, memory_mb=107.0)] * 8], STEADY) == [
        "memory grew from 100.0 to 107.0 MB"
    ]
    assert not complaints([*steady, *[replace(SAMPLE, memory_mb=104.0)] * 8], STEADY)
    assert complaints([replace(SAMPLE, requests=10)] * 8, STEADY) == ["500 spans/s of 1,000"]
    assert complaints([*steady, replace(SAMPLE, errors=2)], STEADY) == ["2 requests failed"]
