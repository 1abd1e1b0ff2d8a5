"""`python -m tests.chaos --minutes 10 --pending 1000000`: a failing service, a backlog, bad input, and the figures."""

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.collector import running_collector
from tests.chaos.backlog import BacklogFigures, drain_rate, run_backlog
from tests.chaos.http_face import ask, complaint_about, other_requests, tidy_requests
from tests.chaos.outage import OutageFigures, run_outage
from tests.chaos.storm import StormFigures, run_storm

EVENTS_A_ROUND = 3_000
IN_FLIGHT = (1, 4, 16)
EXAMPLES_A_MINUTE = 3_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="half for the service, half for input")
    parser.add_argument("--pending", type=int, default=1_000_000, help="events of the backlog, 0: none")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    logging.getLogger("spanmeter").setLevel(logging.CRITICAL)  # it says what the service does to it
    with tempfile.TemporaryDirectory(prefix="spanmeter-chaos-") as name:
        folder = Path(name)
        problems = _storms(folder, minutes=chosen.minutes / 2, seed=chosen.seed)
        if chosen.pending:
            (folder / "backlog").mkdir()
            _say(*_backlog_lines(run_backlog(folder / "backlog", chosen.pending, timeout_s=3600)))
            _say(_outage_line(run_outage(folder / "outage", days=42, call_every_s=600.0, look_every_s=1800.0)), "")
            _say(_drain_line(folder, min(20_000, chosen.pending)), "")
        problems += _http(folder / "http", minutes=chosen.minutes / 4)
        problems += _decoders(folder, seconds=round(chosen.minutes * 60 / 4))
    _say(*problems[:20])
    sys.exit(1 if problems else 0)


def _storms(folder: Path, *, minutes: float, seed: int) -> list[str]:
    end_s = time.monotonic() + 60 * minutes
    rounds: list[StormFigures] = []
    while not rounds or time.monotonic() < end_s:
        number = len(rounds)
        rounds.append(run_storm(folder / f"storm-{number}", EVENTS_A_ROUND, seed=seed + number, v1=number % 2 > 0))
    faults = sum((each.faults for each in rounds), Counter[str]())
    due, received = (
        sum(counts, Counter[str]())
        for counts in ([each.due_tokens for each in rounds], [each.received_tokens for each in rounds])
    )
    failed = 100 * (1 - faults["none"] / faults.total())
    _say(
        f"{len(rounds)} rounds of {EVENTS_A_ROUND:,} events; {faults.total():,} requests, {failed:.1f} % failed:",
        ", ".join(f"{kind} {times:,}" for kind, times in faults.most_common() if kind != "none"),
        f"poisoned {sum(r.poisoned for r in rounds):,}, dead letters {sum(r.buried for r in rounds):,}; received "
        f"{sum(r.received for r in rounds):,}, taken again and dropped by id {sum(r.repeated for r in rounds):,}; "
        f"{sum(r.seconds for r in rounds):.0f} s",
        "",
        "| tenant | tokens due | tokens received | lost | doubled |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {tenant} | {due[tenant]:,} | {received[tenant]:,} | {max(0, due[tenant] - received[tenant])} "
            f"| {max(0, received[tenant] - due[tenant])} |"
            for tenant in sorted(due)
        ),
        "",
    )
    return [problem for each in rounds for problem in each.problems]


def _backlog_lines(found: BacklogFigures) -> list[str]:
    return [
        f"{found.events:,} events pending ({found.file_mib:.0f} MiB): listens after {found.listens_s:.1f} s, sends "
        f"after {found.sends_s:.1f} s; after kill -9 in the middle {found.listens_again_s:.1f} s and "
        f"{found.sends_again_s:.1f} s",
        f"memory at most {found.peak_mib:.0f} MiB, idle {found.idle_mib:.0f} MiB; {found.events_a_second:,.0f} events "
        f"a second; missing {found.missing}, sent again {found.repeated}, overtaken by at most {found.latest}",
        "",
    ]


def _outage_line(found: OutageFigures) -> str:
    return (
        f"{found.days:.0f} days without the service by an injected clock, {found.events:,} events: {found.held} in "
        f"memory at most, {found.trials:,} trials, all taken {found.drained_s:.1f} s after its return, overtaken by at "
        f"most {found.latest}; {len(found.problems)} problems"
    )


def _drain_line(folder: Path, events: int) -> str:
    rates = {n: drain_rate(folder / f"drain-{n}", events, in_flight=n, timeout_s=600) for n in IN_FLIGHT}
    told = ", ".join(f"{n} in flight {rate:,.0f}" for n, rate in rates.items())
    return f"{events:,} events to a service that takes 50 ms to answer, events a second: {told}"


def _http(data_dir: Path, *, minutes: float) -> list[str]:
    complaints: list[str] = []
    statuses: Counter[str] = Counter()
    with running_collector(data_dir) as collector:

        @settings(
            max_examples=max(100, round(EXAMPLES_A_MINUTE * minutes)),
            deadline=None,
            database=None,
            suppress_health_check=[*HealthCheck],
        )
        @given(request=st.one_of(tidy_requests(), tidy_requests(), other_requests()))
        def send(request: bytes) -> None:
            answer = ask(collector.http_port, request, wait_s=0.5)
            statuses[str(answer.status or "closed")] += 1
            if complaint := complaint_about(answer):
                complaints.append(f"{complaint} to {request!r}")

        send()
        if "Traceback" in (log := collector.child.log.read_text()):
            complaints.append(log[-2000:])
    told = ", ".join(f"{status} {times:,}" for status, times in statuses.most_common())
    _say(f"{statuses.total():,} bad and strange HTTP requests: {told}; {len(complaints)} problems", "")
    return complaints


def _decoders(folder: Path, *, seconds: int) -> list[str]:
    if importlib.util.find_spec("atheris") is None:
        _say("decoders: the extra `fuzz` is not installed, only hypothesis has tried them")
        return []
    command = [sys.executable, "-m", "tests.chaos.decoders", f"-max_total_time={seconds}", "-rss_limit_mb=1024"]
    environment = {**os.environ, "TMPDIR": str(folder)}  # atheris ends the process without a chance to tidy up
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 120)
    last = [line for line in run.stderr.splitlines() if line][-3:]
    _say("decoders under atheris: " + " ".join(last[-1:]))
    return [] if run.returncode == 0 else ["decoders: " + run.stderr[-2000:]]


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
