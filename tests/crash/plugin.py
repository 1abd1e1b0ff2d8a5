"""`python -m tests.crash.plugin --kills 200`: kill -9 of processes that the plug-in is a guest in, and the figures.

Two processes at a time share a data folder. Each ends LLM spans on two threads and writes down what has ended; both are
killed at a random moment, and the next two go on. In the end `spanmeter deliver` sends the rest. A span may be missing
if it ended less than the flush time before the kill; with 0 none may.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spanmeter.testing.metering_service import MeteringService

PROCESSES = 2
LONGEST_LIFE_S = 1.0

HOST = """
import os, sys, threading, time
import spanmeter_instrumentation
spanmeter_instrumentation.start()
from opentelemetry import trace
notes, name = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
def work(thread):
    tracer, number = trace.get_tracer("agent"), 0
    while True:
        number += 1
        call = f"chatcmpl-{name}-{thread}-{number:06}-spanmeter"
        tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.response.id": call,
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini", "tenant.id": "acme",
            "gen_ai.usage.output_tokens": 1}).end()
        os.write(notes, f"{call} {time.time_ns()}\\n".encode())
        time.sleep(0.002)
for thread in "ab":
    threading.Thread(target=work, args=(thread,)).start()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`allowed` and `lost` are missing calls that ended within the flush time before their process's kill, or longer
    before; `oldest_ms` is how long before the kill the oldest missing one had ended."""

    kills: int
    calls: int
    allowed: int
    lost: int
    doubled: int
    oldest_ms: float

    def line(self, flush_ms: int) -> str:
        return (
            f"SPANMETER_FLUSH_MS={flush_ms}: {self.kills} kills, {self.calls} calls ended, {self.lost} lost, "
            f"{self.doubled} doubled; {self.allowed} missing that had ended in the last {flush_ms} ms "
            f"(the oldest {self.oldest_ms:.0f} ms before the kill)"
        )


def run_kills(kills: int, *, flush_ms: int, seed: int) -> Figures:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, MeteringService() as service:
        notes = Path(folder) / "notes"
        notes.touch()
        environ = _environ(Path(folder) / "state", service.url, flush_ms)
        killed_ns: dict[str, int] = {}
        following = _start(notes, environ, 0)
        for life in range(-(-kills // PROCESSES)):
            present, following = following, _start(notes, environ, life + 1)
            for _, process in present:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdout.readline()
                process.stdin.write(b"\n")
                process.stdin.flush()
            # From the first span on, so that the folder's making and the first write are hit too.
            time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
            for name, process in present:
                killed_ns[name] = time.time_ns()
                process.kill()
            _end(present)
        for _, process in following:
            process.kill()
        _end(following)
        subprocess.run(
            [sys.executable, "-m", "spanmeter", "deliver", "--until-empty"],
            env=environ,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _figures(notes, killed_ns, service, kills=len(killed_ns), flush_ms=flush_ms)


def _figures(notes: Path, killed_ns: dict[str, int], service: MeteringService, *, kills: int, flush_ms: int) -> Figures:
    ended_ns = {
        call: int(time_ns) for call, time_ns in (line.split() for line in notes.read_text().splitlines() if " " in line)
    }
    billed = Counter(event["id"].removesuffix("-output") for event in service.events)
    ages_ms = [
        (killed_ns[call.split("-")[1]] - time_ns) / 1e6 for call, time_ns in ended_ns.items() if not billed[call]
    ]
    return Figures(
        kills=kills,
        calls=len(ended_ns),
        allowed=sum(age_ms <= flush_ms for age_ms in ages_ms),
        lost=sum(age_ms > flush_ms for age_ms in ages_ms),
        doubled=sum(count - 1 for count in billed.values()),
        oldest_ms=max(ages_ms, default=0.0),
    )


Processes = list[tuple[str, "subprocess.Popen[bytes]"]]


def _start(notes: Path, environ: dict[str, str], life: int) -> Processes:
    return [
        (
            name := f"{life}x{number}",
            subprocess.Popen(
                [sys.executable, "-c", HOST, notes, name],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ),
        )
        for number in range(PROCESSES)
    ]


def _end(processes: Processes) -> None:
    for _, process in processes:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _environ(folder: Path, url: str, flush_ms: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANMETER_", "KONN"))}
    return kept | {
        "SPANMETER_DATA_DIR": str(folder),
        "SPANMETER_ENDPOINT": url,
        "SPANMETER_FLUSH_MS": str(flush_ms),
        "SPANMETER_TRACE_QUIET_S": "0.2",
        "SPANMETER_TRACE_MAX_S": "1",
        "SPANMETER_SETTLEMENT": "off",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.plugin", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="with each flush time (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    chosen = parser.parse_args()
    failed = False
    for flush_ms in (100, 0):
        figures = run_kills(chosen.kills, flush_ms=flush_ms, seed=chosen.seed)
        sys.stdout.write(figures.line(flush_ms) + "\n")
        failed |= bool(figures.lost or figures.doubled)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
