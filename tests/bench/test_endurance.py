"""What an endurance run complains of."""

from dataclasses import replace

from tests.bench.endurance import Sample, Steady, complaints

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


def test_what_is_complained_of() -> None:
    steady = [SAMPLE] * 8
    assert not complaints(steady, STEADY)
    assert complaints([*steady, *[replace(SAMPLE, memory_mb=107.0)] * 8], STEADY) == [
        "memory grew from 100.0 to 107.0 MB"
    ]
    assert not complaints([*steady, *[replace(SAMPLE, memory_mb=104.0)] * 8], STEADY)
    assert complaints([replace(SAMPLE, requests=10)] * 8, STEADY) == ["500 spans/s of 1,000"]
    assert complaints([*steady, replace(SAMPLE, errors=2)], STEADY) == ["2 requests failed"]
