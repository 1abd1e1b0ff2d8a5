"""System calls of a process as strace tells them: which, on what, with which bytes, and in which order."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.child import Child, eventually, running

WRITES = frozenset({"pwrite64", "write"})
SYNCS = frozenset({"fsync", "fdatasync"})
SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
RECEIVES = frozenset({"recvfrom", "recvmsg", "read"})
_TRACED = WRITES | SYNCS | SENDS | RECEIVES | {"ftruncate"}
_END_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0

_LINE = re.compile(r"(\d+) +(.*)\n")
_WHOLE = re.compile(r"(\w+)\((.*)\) += (-?\d+).*")
_UNFINISHED = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)\) += (-?\d+).*")
_FILE = re.compile(r"\d+<(.*?)>(?:, |$)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCall:
    """A call that has ended. `begun` and `ended` are places in one order of all calls of all threads; `file` is a path,
    or `TCP:[local->peer]`; `numbers` are the arguments at the end, such as an offset."""

    name: str
    file: str
    data: bytes
    numbers: tuple[int, ...]
    result: int
    begun: int
    ended: int


def missing_strace() -> str:
    """Why nothing can be traced here; empty if it can."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return "no strace on PATH"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {probe.stderr.strip()[-200:]}" if probe.returncode else ""


@contextmanager
def traced(
    command: list[str], *, environment: Mapping[str, str], log: Path, ports: tuple[int, ...], output: Path
) -> Iterator[Child]:
    """Run `command` under strace until the block ends; then `output` is complete."""
    strace = ["strace", "-D", "-f", "-yy", "-xx", "-s", "70000", "-e", "signal=none"]
    strace += ["-o", str(output), "-e", f"trace={','.join(sorted(_TRACED))}"]
    with running([*strace, *command], environment=environment, log=log, ports=ports) as child:
        yield child
        # A thread that strace holds is passed over by the kernel: the signal may go to one that Python does not wake
        # the main thread from. So it is repeated.
        eventually(lambda: _terminated(child), timeout_s=_END_TIMEOUT_S)
    last = f"{child.process.pid} ".encode()

    def is_complete() -> bool:
        lines = output.read_bytes()[-4000:].splitlines()
        return any(line.startswith(last) and line.endswith(b"+++") for line in lines)

    assert eventually(is_complete, timeout_s=_END_TIMEOUT_S), "strace has not ended"


def _terminated(child: Child) -> bool:
    child.process.terminate()
    try:
        child.process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def read_calls(lines: Iterable[str]) -> list[SystemCall]:
    """The calls on files and TCP connections that succeeded, in the order of their ends.

    strace stops each thread at a call's begin and end, one at a time, and writes a line at each: the lines' order is
    the order in which things happened. A call in one line had no other between its begin and its end.
    """
    calls = []
    begun: dict[str, tuple[int, str, str]] = {}
    for place, line in enumerate(lines):
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        thread, text = found.groups()
        if half := _UNFINISHED.fullmatch(text):
            begun[thread] = place, half[1], half[2]
            continue
        if rest := _RESUMED.fullmatch(text):
            first, name, arguments = begun.pop(thread)
            call = _call(name, arguments + rest[1], int(rest[2]), first, place)
        elif whole := _WHOLE.fullmatch(text):
            call = _call(whole[1], whole[2], int(whole[3]), place, place)
        else:
            continue
        if call is not None and call.result >= 0:
            calls.append(call)
    return calls


def _call(name: str, arguments: str, result: int, begun: int, ended: int) -> SystemCall | None:
    file = _FILE.match(arguments)
    if file is None:
        return None
    data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments, file.end()))
    numbers = re.findall(r", (\d+)(?=,|$)", arguments[file.end() - 2 :])
    return SystemCall(
        name=name,
        file=re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), file[1]),
        data=data[:result] if name in WRITES | SENDS | RECEIVES and result >= 0 else data,
        numbers=tuple(map(int, numbers)),
        result=result,
        begun=begun,
        ended=ended,
    )
