import logging

import pytest

from spanmeter.logs import Complaints
from spanmeter.testing.clock import ManualClock


def test_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    complaints = Complaints(logging.getLogger("spanmeter.test"), clock=clock)
    for number in range(3):
        complaints.tell(logging.WARNING, "lost %d", number)
        complaints.tell(logging.ERROR, "found %d", number)
    clock.advance(60)
    complaints.tell(logging.WARNING, "lost %d", 3)
    complaints.tell(logging.WARNING, "lost %d", 4)
    clock.advance(60)
    complaints.tell(logging.WARNING, "lost %d", 5)
    assert [record.getMessage() for record in caplog.records] == [
        "lost 0",
        "found 0",
        "lost 3 (and 2 more since)",
        "lost 5 (and 1 more since)",
    ]
