"""What a process holds on to, told by the system: glibc reserves 64 MB of addresses for each heap."""

import os
import platform
import subprocess
import sys

import pytest

THREADS = 6
PROGRAM = """
import sys, threading
from spanmeter.heap import hold_little
if sys.argv[1] == "held":
    hold_little()
begin, done = threading.Barrier(int(sys.argv[2]) + 1), threading.Event()
def work():
    kept = [bytes(2_000) for _ in range(1_000)]
    begin.wait()
    done.wait()
for _ in range(int(sys.argv[2])):
    threading.Thread(target=work, daemon=True).start()
begin.wait()
heaps = sum(
    1 for line in open("/proc/self/maps") if (at := line.split()[0].split("-")) and int(at[0], 16) % (64 << 20) == 0
    and len(line.split()) == 5 and line.split()[1] == "rw-p"
)
print(heaps)
done.set()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library manages its memory otherwise")
@pytest.mark.parametrize(
    ("way", "environment", "expected"),
    [("held", {}, 0), ("", {}, THREADS), ("held", {"MALLOC_ARENA_MAX": "100"}, THREADS)],
)
def test_threads_share_one_heap(way: str, environment: dict[str, str], expected: int) -> None:
    unset = {"MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, way, str(THREADS)],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    heaps = int(told.stdout)
    assert heaps == 0 if not expected else heaps >= expected - 1  # one may take the first heap
