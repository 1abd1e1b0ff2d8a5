"""kill -9 of settlement and of an operator's commands: each event stays in one place and is at the service once."""

from pathlib import Path

import pytest

from tests.crash.later import MISSING, REFUSED, SENT, kill_later
from tests.crash.steps import LaterStep

ALL = len(SENT) + len(MISSING)


@pytest.mark.parametrize("step", LaterStep)
def test_kill_9_after_delivery_loses_and_doubles_nothing(tmp_path: Path, step: LaterStep) -> None:
    found = kill_later(tmp_path, step)
    assert found.problems == []
    refused = 0 if step.name.startswith(("RETRY", "DISCARD")) else len(REFUSED)
    discarded = len(REFUSED) if step.name.startswith("DISCARD") else 0
    assert found.after["dead_letter"] == refused
    assert found.after["discarded"] == discarded
    if step.name.startswith(("READ_BACK", "RESEND")):
        assert found.after["settled"] == len(SENT)
        assert found.after["sent"] == len(MISSING)  # sent again, to be read back at the next round
    if "WRITTEN" in step.name or step is LaterStep.READ_BACK_ANSWERED:
        untouched = len(SENT) if step is LaterStep.RESEND_WRITTEN else 0
        assert found.before["settled"] == untouched
        assert found.before["sent"] == ALL - untouched
        assert found.before["outbox"] == found.before["discarded"] == 0
