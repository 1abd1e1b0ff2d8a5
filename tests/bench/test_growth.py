"""The growth bench measures, and the ack costs no more where much lies in the folder already."""

import pytest

from tests.bench.growth import MOST_RATIO, Effort, grown, lines_of


@pytest.mark.parametrize("way", ["ledger", "pending", "tenants"])
def test_the_ack_does_not_depend_on_what_there_is(way: str) -> None:
    effort = Effort(seconds=0.4, rounds=1, calls=500)
    small, large = grown(way, (1, 3_000), effort)
    assert large.ack_us < 2 * MOST_RATIO * small.ack_us  # in so short a time
    assert large.file_mb > small.file_mb
    assert min(large.assembly_us, large.delivery_us, large.usage_s, large.status_s, large.memory_mb) > 0
    assert len(lines_of([small, large])) == 4
