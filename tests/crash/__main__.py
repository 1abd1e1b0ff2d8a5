"""`python -m tests.crash --kills 500 --power-cuts 1000`: kill -9 and power cuts under load, and the figures."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.crash.later import kill_later
from tests.crash.power import run_power_cuts
from tests.crash.report import power_line_of, table_of
from tests.crash.steps import LaterStep
from tests.crash.strace import missing_strace
from tests.crash.trial import Plan, run_trial


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="how often the collector is killed (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="of tokens, moments and order (default: 1)")
    parser.add_argument("--processes", type=int, default=1, help="that receive (default: 1); they are killed, too")
    parser.add_argument(
        "--power-cuts", type=int, default=1000, help="acknowledgements to check for power loss, 0: none (default: 1000)"
    )
    chosen = parser.parse_args()
    logging.getLogger("spanmeter").setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # exporters that meet a dead collector say so

    def told(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line}")

    problems = _later(told)
    figures = run_trial(Plan.of(chosen.kills, seed=chosen.seed, processes=chosen.processes, told=told))
    sys.stdout.write(f"\n{table_of(figures)}\n")
    problems += figures.audit.problems
    if chosen.power_cuts and (missing := missing_strace()):
        sys.stdout.write(f"\nno power cuts: {missing}\n")
    elif chosen.power_cuts:
        power = run_power_cuts(chosen.power_cuts, seed=chosen.seed)
        sys.stdout.write(f"\n{power_line_of(power)}\n")
        problems += power.problems
    sys.exit(1 if problems else 0)


def _later(told: Callable[[str], None]) -> list[str]:
    problems = []
    for step in LaterStep:
        told(step)
        with tempfile.TemporaryDirectory(prefix="spanmeter-later-") as folder:
            problems += [f"{step}: {problem}" for problem in kill_later(Path(folder), step).problems]
    sys.stdout.write(
        f"\nkill -9 at {len(LaterStep)} steps of settlement, dead-letters, replay, correct: each event in one place, "
        f"at the service once: {len(problems)} problems\n"
    )
    return problems


if __name__ == "__main__":
    main()
