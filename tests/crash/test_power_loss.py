"""Power loss: what was acknowledged is on the disk, not only in the kernel's memory.

Shown from the system calls of a real collector. Each acknowledgement is found among them by the bytes of its
connection; before it begins, the write-ahead log must have been written with the call in it, and an fsync of the log
that began after that write must have ended. SQLite promises no more and needs no more: in WAL mode with
synchronous=FULL a COMMIT writes the transaction's frames, the last of them marked as the commit, and fsyncs the log
before it returns (sqlite.org/pragma.html#pragma_synchronous); recovery takes every frame up to the last intact commit.

An order of calls alone does not show that nothing else is needed (a folder's entry for a new file, the moment at which
a checkpoint overwrites the log). So the calls are replayed on a model of a disk which keeps only what was fsynced, and
the power is cut at every acknowledgement, twice: once nothing that was not fsynced has reached the disk, once any half
of its sectors has. SQLite opens what is left, finds it whole, and finds every call acknowledged so far.
"""

import pytest

from tests.crash.power import run_power_cuts
from tests.crash.strace import missing_strace

REQUESTS = 160


def test_an_acknowledgement_is_sent_after_the_fsync_and_survives_a_power_cut() -> None:
    if missing := missing_strace():
        pytest.skip(missing)
    figures = run_power_cuts(REQUESTS, seed=7)
    assert figures.problems == []
    assert figures.acknowledged == figures.in_order == REQUESTS
    assert figures.syncs > 0
