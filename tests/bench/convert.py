"""What `convert` costs, and that its memory stays: `python -m tests.bench.convert --gigabytes 10`.

The recording is made as it is read, through a pipe: no disk is needed. Prints spans a CPU second of `convert`, and what
it held in memory on the way, all its processes together.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from spanmeter.demo.stage import clean_environment
from tests.bench.loads import Load, template_of
from tests.bench.measure import peak_mb, resident_mb
from tests.bench.recordings import FORMATS, gzipped, recording
from tests.bench.servers import ROOT

LOOK_EVERY_S = 0.02
TIMES_TOLD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """`megabytes` as they were read, compressed where they are. `held_mb` is what was in memory after equal parts of
    the time, `peak_mb` the most; what its processes share counts for each of them."""

    spans: int
    megabytes: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    held_mb: list[float]

    @property
    def spans_a_cpu_second(self) -> float:
        return self.spans / self.cpu_s


def converted(load: Load, form: str, requests: int, *, is_gzip: bool = False, options: Iterable[str] = ()) -> Converted:
    """So many requests through `spanmeter convert`. RuntimeError with its words where it fails."""
    pieces = recording(load, form, requests)
    if is_gzip:
        pieces = gzipped(pieces)
    command = [sys.executable, "-m", "spanmeter", "convert", "-", "--quiet", *options]
    environment = {**clean_environment(os.environ), "PYTHONPATH": str(ROOT / "collector")}
    begun_s, before_s = time.monotonic(), os.times()
    sent = 0
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        held = _Held(child)
        try:
            for piece in pieces:
                child.stdin.write(piece)
                sent += len(piece)
            child.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        told = child.stderr.read().decode()
        held.join()
    if child.returncode:
        raise RuntimeError(f"convert ended with {child.returncode}: {told}")
    after_s = os.times()
    return Converted(
        spans=load.spans * requests,
        megabytes=sent / 1e6,
        wall_s=time.monotonic() - begun_s,
        cpu_s=after_s.children_user + after_s.children_system - before_s.children_user - before_s.children_system,
        peak_mb=held.peak_mb,
        held_mb=held.after_equal_parts(),
    )


class _Held(threading.Thread):
    """Looks at the memory of a process and those that descend from it until it has ended."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._child = child
        self._held: list[float] = []
        self.start()

    def run(self) -> None:
        while self._child.poll() is None:
            try:
                self.peak_mb = max(self.peak_mb, peak_mb(self._child.pid))
                self._held.append(resident_mb(self._child.pid))
            except OSError:
                continue  # one of them ended meanwhile
            time.sleep(LOOK_EVERY_S)

    def after_equal_parts(self) -> list[float]:
        held = [each for each in self._held if each]
        return [held[(len(held) - 1) * part // TIMES_TOLD] for part in range(1, TIMES_TOLD + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.convert", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=0.1, help="of the recording before compression")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--text", type=int, default=0, metavar="BYTES", help="of messages in each span")
    parser.add_argument("--spans", type=int, default=512, help="of a request")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--window", type=int, default=30_000)
    chosen = parser.parse_args()
    load = Load(name="LLM spans", spans=chosen.spans, text_bytes=chosen.text)
    requests = max(1, round(chosen.gigabytes * 1e9 / len(template_of(load, seed=1).body)))
    found = converted(
        load,
        chosen.format,
        requests,
        is_gzip=chosen.gzip,
        options=["--jobs", str(chosen.jobs), "--window", str(chosen.window)],
    )
    packed = ", gzip" if chosen.gzip else ""
    sys.stdout.write(
        f"{chosen.format}{packed}, --jobs {chosen.jobs}: {found.spans:,} LLM spans, {found.megabytes:,.0f} MB in "
        f"{found.wall_s:,.1f} s, {found.cpu_s:,.1f} CPU s: {found.spans_a_cpu_second:,.0f} spans/CPU s, "
        f"{found.megabytes / found.wall_s:,.0f} MB/s\n"
        f"memory: at most {found.peak_mb:.0f} MB; on the way {', '.join(f'{held:.0f}' for held in found.held_mb)}\n"
    )


if __name__ == "__main__":
    main()
