"""One server under one load: what it did, and what that cost."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.sender import Order
from tests.bench.servers import ROOT, Server

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SYNC_S = 0.5
_FULL_RUNS = 3
_HALF_ROUNDS = 5
_LONGEST_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of the time that counts, in that of several runs in which a request took least CPU: others on the machine make it
    take more. `cpu_s` is of the server's processes, in user and system mode. `half_p99_ms` is at half of the rate that
    was reached, the median of several rounds; `syncs` fsyncs a request, None where they were not
    counted."""

    requests: int
    spans: int
    errors: int
    wall_s: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    half_p99_ms: float | None
    peak_mb: float
    syncs: float | None

    @property
    def spans_a_cpu_second(self) -> float:
        return self.spans / max(self.cpu_s, _TICK_S)

    @property
    def requests_a_cpu_second(self) -> float:
        return self.requests / max(self.cpu_s, _TICK_S)


class Numbers:
    """Request numbers, never twice the same: a span is never repeated within one run of the bench."""

    def __init__(self) -> None:
        self._next = 0

    def some(self) -> int:
        self._next += 2_000_000
        return self._next


def measured(server: Server, order: Order, numbers: Numbers, *, at_half: bool, counts_syncs: bool) -> Figures:
    """Full load, then where asked half of it, then a moment under strace. Of a server that goes on after it has
    acknowledged, the cost is that of all that was sent until it is done with it, in one run."""
    used_s = cpu_s(server.pid)
    full = one_run(server, order)
    rate = full["requests"] / full["seconds"]
    if server.has_settled is not None:
        _wait_until(server.has_settled)
        full |= {"requests": full["sent"], "cpu_s": cpu_s(server.pid) - used_s}
    else:
        again = [one_run(server, replace(order, first=numbers.some())) for _ in range(_FULL_RUNS - 1)]
        full = min([full, *again], key=lambda run: run["cpu_s"] / max(1, run["requests"]))
        rate = full["requests"] / full["seconds"]
    half_p99_ms = None
    if at_half and rate:
        half_p99_ms = _p99_ms(server, replace(order, rate=rate / 2, first=numbers.some()))
    peak = peak_mb(server.pid)
    syncs = _syncs(server, replace(order, seconds=_SYNC_S, first=numbers.some())) if counts_syncs else None
    return Figures(
        requests=full["requests"],
        spans=full["requests"] * order.load.spans,
        errors=full["errors"],
        wall_s=full["requests"] / rate if rate else full["seconds"],
        cpu_s=full["cpu_s"],
        p50_ms=full["p50_ms"],
        p99_ms=full["p99_ms"],
        half_p99_ms=half_p99_ms,
        peak_mb=peak,
        syncs=syncs,
    )


def _p99_ms(server: Server, order: Order) -> float:
    """The median of several rounds, one after another without a pause: what disturbs the machine for a moment is in one
    of them. What the server does at times (a checkpoint every second) has to be in each."""
    run = one_run(server, replace(order, seconds=_HALF_ROUNDS * order.seconds, tell_every_s=order.seconds))
    return float(statistics.median(told["p99_ms"] for told in run["rounds"]))


def _wait_until(is_done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _LONGEST_S
    while not is_done():
        if time.monotonic() > until_s:
            raise RuntimeError(f"what was sent is not done with after {_LONGEST_S} s")
        time.sleep(0.1)


def one_run(server: Server, order: Order) -> dict[str, Any]:
    """What the sender tells at the end, what it told before in `rounds`; and in the time that counts, `cpu_s` of the
    server, `sender_cpu_s`, and `others_cpu_s` of whatever else was at work on the machine."""
    command = [sys.executable, "-m", "tests.bench.sender", order.line()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        used_s = sent_s = busy_s = 0.0
        rounds = []
        for line in sender.stdout:
            if line == "begin\n":
                used_s, sent_s, busy_s = -cpu_s(server.pid), -cpu_s(sender.pid), -machine_cpu_s()
            elif line == "end\n":
                used_s, sent_s = used_s + cpu_s(server.pid), sent_s + cpu_s(sender.pid)
                busy_s += machine_cpu_s()
            elif "sent" not in (told := json.loads(line)):
                rounds.append(told)
            else:
                others_s = max(0.0, busy_s - used_s - sent_s)
                return {**told, "rounds": rounds, "cpu_s": used_s, "sender_cpu_s": sent_s, "others_cpu_s": others_s}
    raise RuntimeError("the sender ended without a result")


def processes(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            for child in (task / "children").read_text().split():
                found += processes(int(child))
    return found


def cpu_s(pid: int) -> float:
    """In user and system mode, of the process and its descendants that still run."""
    total = 0
    for process in processes(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])  # utime and stime, proc_pid_stat(5)
    return total * _TICK_S


def machine_cpu_s() -> float:
    """Of all processes, and of what the machine's host took away."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )  # proc_stat(5)
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def peak_mb(pid: int) -> float:
    """The most that the process held in memory, and each of its descendants."""
    return _memory_mb(pid, "VmHWM")


def resident_mb(pid: int) -> float:
    """What they hold now."""
    return _memory_mb(pid, "VmRSS")


def _memory_mb(pid: int, name: str) -> float:
    total_kb = 0
    for process in processes(pid):
        try:
            found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        except FileNotFoundError:
            continue  # it has ended meanwhile
        total_kb += int(found[1]) if found else 0
    return total_kb / 1024


def _syncs(server: Server, order: Order) -> float | None:
    if shutil.which("strace") is None:
        return None
    command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync"]
    for process in processes(server.pid):
        command += ["-p", str(process)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        run = one_run(server, order)
        strace.terminate()
        told = strace.communicate()[1]
    calls = sum(int(line.split()[3]) for line in told.splitlines() if line.endswith(("fsync", "fdatasync")))
    # Those of the warm-up are in it, too.
    return calls / run["sent"] if run["sent"] else None
