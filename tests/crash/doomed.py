"""`spanmeter serve` that dies at a step: `python -m tests.crash.doomed [STEP PASSES]`.

It imports everything and then waits for a line on standard input, so that a life begins where a start touches the disk,
and the next process can be kept warm meanwhile.
"""

import sys

import spanmeter.service  # noqa: F401 - imported ahead of the command, which would do it later
from spanmeter.cli import main
from tests.crash.steps import Step, arm

if __name__ == "__main__":
    if len(sys.argv) > 1:
        arm(Step[sys.argv[1]], int(sys.argv[2]))
    sys.stdin.readline()
    main(["serve"])
