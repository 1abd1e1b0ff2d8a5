"""`python -m tests.bench.convert`: what `spanmeter convert` costs for recordings of many requests.

Each row is a run of the command, its start and its end included; the first is of an empty recording: what starting
costs. CPU seconds are of all its processes.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.bench.loads import Load, template_of

_IDS = ("traceId", "spanId", "parentSpanId")
_HEAD = f"{'recording':<32}{'jobs':>5}{'spans/CPU s':>13}{'spans/s':>10}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}\n"


def write_recordings(folder: Path, load: Load, requests: int) -> dict[str, Path]:
    """Of the same requests: as the Collector's file exporter writes protobuf, and JSON lines."""
    template = template_of(load, seed=1)
    paths = {"protobuf": folder / "spans.binpb", "JSON lines": folder / "spans.jsonl"}
    with paths["protobuf"].open("wb") as binary, paths["JSON lines"].open("w") as lines:
        for number in range(requests):
            body = template.request(number)
            binary.write(len(body).to_bytes(4, "big") + body)
            lines.write(_json_of(body) + "\n")
    return paths


def _json_of(body: bytes) -> str:
    """As OTLP has it: ids in hexadecimal."""

    def mended(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: base64.b64decode(one).hex() if key in _IDS else mended(one) for key, one in value.items()}
        return [mended(one) for one in value] if isinstance(value, list) else value

    message = MessageToDict(ExportTraceServiceRequest.FromString(body), use_integers_for_enums=True)
    return json.dumps(mended(message), separators=(",", ":"), ensure_ascii=False)


def measure(recording: Path, *, spans: int, jobs: int) -> dict[str, float]:
    """One run."""
    command = [sys.executable, "-m", "spanmeter", "convert", "-q", "--jobs", str(jobs), str(recording)]
    before = os.times()
    wall_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - wall_s
    after = os.times()
    assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}"
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "spans_a_cpu_second": round(spans / cpu_s),
        "spans_a_second": round(spans / wall_s),
        "cpu_s": round(cpu_s, 2),
        "wall_s": round(wall_s, 2),
        "peak_mb": used.ru_maxrss >> 10,
    }


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.convert", description=__doc__)
    parser.add_argument("--requests", type=int, default=400, help="in each recording, of 512 LLM spans")
    parser.add_argument("--text-bytes", type=int, default=0, help="of messages on each span")
    parser.add_argument("--mix", action="store_true", help="every twentieth span only is an LLM span")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], metavar="N")
    chosen = parser.parse_args(None if arguments is None else [*arguments])
    load = Load(name="LLM spans", spans=512, text_bytes=chosen.text_bytes, is_mix=chosen.mix)
    with tempfile.TemporaryDirectory(prefix="spanmeter-bench-") as name:
        empty = Path(name) / "empty.jsonl"
        empty.touch()
        runs = [("none: starting", empty, 0, 1)]
        for kind, path in write_recordings(Path(name), load, chosen.requests).items():
            shown = f"{kind}, {path.stat().st_size >> 20} MB"
            runs += [(shown, path, 512 * chosen.requests, jobs) for jobs in chosen.jobs]
        sys.stdout.write(_HEAD)
        for shown, path, spans, jobs in runs:
            found = measure(path, spans=spans, jobs=jobs)
            sys.stdout.write(
                f"{shown:<32}{jobs:>5}{found['spans_a_cpu_second']:>13,}{found['spans_a_second']:>10,}"
                f"{found['cpu_s']:>8}{found['wall_s']:>8}{found['peak_mb']:>9}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
