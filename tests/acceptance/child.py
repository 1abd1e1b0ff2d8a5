"""Other programs as child processes: free ports, bounded waits for readiness, an end for exactly what was started."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running program. `log` has both of its output streams."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """SIGKILL, as a power cut would end it; returns when it is gone."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, ports: Sequence[int]
) -> Iterator[Child]:
    """Run `command` until the block ends; entered when all `ports` on 127.0.0.1 accept connections.

    Ends it by SIGTERM, and by SIGKILL if it does not obey. AssertionError with the end of its log where it never gets
    ready.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: process.poll() is not None or all(map(accepts, ports)), timeout_s=READY_TIMEOUT_S)
        if process.poll() is not None or not all(map(accepts, ports)):
            end = log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{command[0]} is not ready on {ports}, exit status {process.poll()}:\n{end}")
        yield Child(process=process, log=log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Look until the condition holds or the time is over; its last answer."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return condition()
        time.sleep(0.02)
    return True
