"""A command that dies at a step: `python -m tests.crash.doomed [STEP PASSES [COMMAND…]]`; the command is `serve` where
none is named, `settle` reads back what was sent until there is nothing more to do.

It imports everything and then waits for a line on standard input, so that a life begins where a start touches the disk,
and the next process can be kept warm meanwhile. Keys are filed every few calls, so that no life is too short for it.
"""

import os
import sys

import spanmeter.service  # noqa: F401 - imported ahead of the command, which would do it later
from spanmeter.cli import main
from spanmeter.store import filing
from tests.crash.settling import settle
from tests.crash.steps import arm, step_named

A_SHARE = 10
"""As `spanmeter.store.filing` has it."""

if __name__ == "__main__":
    filing.A_SHARE = A_SHARE
    if len(sys.argv) > 1:
        arm(step_named(sys.argv[1]), int(sys.argv[2]))
    sys.stdin.readline()
    command = sys.argv[3:] or ["serve"]
    if command == ["settle"]:
        settle(os.environ)
    else:
        main(command)
