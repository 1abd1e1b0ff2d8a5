"""Lives of the collector: processes on one data folder, one after the other, each ended by SIGKILL but the last."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from socket import socket

from tests.acceptance.child import STOP_TIMEOUT_S, accepts, eventually
from tests.acceptance.processes import children_of
from tests.crash.steps import Step

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 60.0


class Life:
    """A warm process that becomes `spanmeter serve` on `begin`; `step` is where it kills itself, after `passes`."""

    def __init__(self, environment: Mapping[str, str], log: Path, *, step: Step | None = None, passes: int = 1) -> None:
        self._log = log
        self._ports = [int(environment[f"SPANMETER_OTLP_{name}"].rpartition(":")[2]) for name in ("GRPC", "HTTP")]
        doom = [] if step is None else [step.name, str(passes)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.doomed", *doom],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.close()

    def wait_until_ready(self) -> bool:
        """False where it died first. AssertionError where it ended otherwise, or never listens."""
        ready = eventually(
            lambda: self._process.poll() is not None or all(map(accepts, self._ports)), timeout_s=READY_TIMEOUT_S
        )
        if self._process.poll() is None and ready:
            return True
        assert self._process.poll() == -signal.SIGKILL, (
            f"no start, exit status {self._process.poll()}:\n{self._log.read_text(errors='replace')[-3000:]}"
        )
        return False

    def wait_for_death(self) -> bool:
        """Whether it has killed itself in time."""
        try:
            return self._process.wait(STEP_TIMEOUT_S) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    def kill_after(self, seconds: float) -> None:
        """SIGKILL from outside. AssertionError where it ended by itself before."""
        time.sleep(seconds)
        self._process.kill()
        code = self._process.wait(STOP_TIMEOUT_S)
        assert code == -signal.SIGKILL, (
            f"ended by itself, exit status {code}:\n{self._log.read_text(errors='replace')[-3000:]}"
        )

    def companions(self) -> list[int]:
        """The processes that it has started, once it said that it is ready: before, one that ends is no start."""
        ready = f"spanmeter {self._process.pid} is ready\n"
        return children_of(self._process.pid) if ready in self._log.read_text(errors="replace") else []

    def stop(self) -> None:
        """In order, by SIGTERM; by force if it does not obey. Idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.kill()  # it was never begun
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)


def lasting_port() -> int:
    """A free port of 127.0.0.1 below those that the system gives to outgoing connections: while nobody listens on it,
    a client that tries again and again can neither be given it nor connect to itself. Never by a seed: two trials at
    the same time must not meet."""
    chance = random.SystemRandom()
    for _ in range(200):
        port = chance.randint(15_000, 32_000)
        with closing(socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port of 200 tried")
