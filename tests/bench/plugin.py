"""`python -m tests.bench.plugin`: what the plug-in adds to a program that is traced already, printed as ratios.

Every figure is measured twice, in processes of their own that take turns: once with OpenTelemetry's SDK, a batch
processor and an exporter that throws away, once with the plug-in besides; both have the `openai` client loaded. What is
timed is one span on the application's thread, from `start_span` to the return of `end`, its attributes included.
Processor time is that of this thread alone: it is the plug-in's own also on a machine that is busy with other things.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

KINDS = ("LLM span, recorded", "LLM span, dropped", "HTTP span, recorded", "HTTP span, dropped")

PROGRAM = """
import json, sys, time
import openai, httpx, pydantic
before = time.perf_counter()
if sys.argv[1] == "with":
    import spanmeter_instrumentation
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

class Away(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

kind, spans, pause = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
if sys.argv[1] == "with":
    assert spanmeter_instrumentation.start()
provider = TracerProvider(sampler=ALWAYS_OFF if kind.endswith("dropped") else ALWAYS_ON, resource=Resource({}))
provider.add_span_processor(BatchSpanProcessor(Away(), max_queue_size=100_000))
trace.set_tracer_provider(provider)
started = time.perf_counter() - before
tracer = trace.get_tracer("bench")

TEXT = "What the weather is like. " * 40
if kind.startswith("LLM"):
    FIRST = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini",
             "server.address": "api.openai.com", "server.port": 443}
    LATER = {"gen_ai.input.messages": TEXT, "gen_ai.output.messages": TEXT, "gen_ai.response.model": "gpt-4o-mini",
             "gen_ai.response.finish_reasons": ("stop",), "gen_ai.request.temperature": 0.5,
             "gen_ai.usage.input_tokens": 200, "gen_ai.usage.output_tokens": 50}
else:
    FIRST = {"http.request.method": "GET", "url.path": "/", "url.scheme": "https", "server.address": "example.org"}
    LATER = {"http.response.status_code": 200, "network.protocol.version": "1.1"}

def one(number):
    span = tracer.start_span("a span", attributes=FIRST)
    if span.is_recording():
        for key, value in LATER.items():
            span.set_attribute(key, value)
        if "gen_ai.usage.input_tokens" in LATER:
            span.set_attribute("gen_ai.response.id", "chatcmpl-%d" % number)
    span.end()

def memory_kib():
    import gc, pathlib
    gc.collect()
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0

times, busy = [], []
for number in range(spans):
    began_busy = time.thread_time_ns()
    begin = time.perf_counter_ns()
    one(number)
    times.append(time.perf_counter_ns() - begin)
    busy.append(time.thread_time_ns() - began_busy)
    if pause:
        time.sleep(pause)
print(json.dumps({"times": times, "busy": busy, "started": started, "memory": memory_kib()}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Of several processes: the times of one span in µs, and the processor's in its thread; seconds until the first
    could start, KiB at the end."""

    times_us: list[float]
    busy_us: list[float]
    started_s: float
    memory_kib: float


def quantile(times: list[float], part: float) -> float:
    return times[min(len(times) - 1, int(len(times) * part))]


def measure(kind: str, *, spans: int, rounds: int, pause_s: float, flush_ms: int) -> tuple[Runs, Runs]:
    """Without and with the plug-in."""
    found: dict[str, list[Runs]] = {"without": [], "with": []}
    for _ in range(rounds):
        for way, results in found.items():
            results.append(_run(way, kind, spans=spans, pause_s=pause_s, flush_ms=flush_ms))
    return _together(found["without"]), _together(found["with"])


def _run(way: str, kind: str, *, spans: int, pause_s: float, flush_ms: int) -> Runs:
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANM", "KONN"))}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, way, kind, str(spans), str(pause_s)],
            env=kept | {"SPANMETER_DATA_DIR": str(Path(folder) / "state"), "SPANMETER_FLUSH_MS": str(flush_ms)},
            stdout=subprocess.PIPE,
            check=True,
        )
    result = json.loads(done.stdout)
    return Runs(
        times_us=[time / 1000 for time in result["times"]],
        busy_us=[time / 1000 for time in result["busy"]],
        started_s=result["started"],
        memory_kib=result["memory"],
    )


def _together(runs: list[Runs]) -> Runs:
    return Runs(
        times_us=sorted(time for run in runs for time in run.times_us),
        busy_us=sorted(time for run in runs for time in run.busy_us),
        started_s=statistics.median(run.started_s for run in runs),
        memory_kib=statistics.median(run.memory_kib for run in runs),
    )


def rows_of(kind: str, alone: Runs, with_plugin: Runs) -> list[str]:
    rows = []
    for name, before, after in (
        ("median", quantile(alone.times_us, 0.5), quantile(with_plugin.times_us, 0.5)),
        ("p99", quantile(alone.times_us, 0.99), quantile(with_plugin.times_us, 0.99)),
        ("p99 of processor time", quantile(alone.busy_us, 0.99), quantile(with_plugin.busy_us, 0.99)),
    ):
        added = after - before
        rows.append(f"| {kind}, {name} | {before:.1f} µs | {after:.1f} µs | {added:+.1f} µs | {after / before:.2f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plugin", description=__doc__)
    parser.add_argument("--spans", type=int, default=3000, help="in each process (default: 3000)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of either sort (default: 3)")
    parser.add_argument("--pause-ms", type=float, default=1.0, help="between two spans, 0: none (default: 1)")
    parser.add_argument("--flush-ms", type=int, default=100, help="SPANMETER_FLUSH_MS (default: 100)")
    parser.add_argument("--kind", choices=KINDS, help="of span (default: each)")
    chosen = parser.parse_args()
    kinds = (chosen.kind,) if chosen.kind else KINDS
    lines = ["| | tracing alone | with the plug-in | added | ratio |", "|---|---|---|---|---|"]
    for kind in kinds:
        alone, with_plugin = measure(
            kind,
            spans=chosen.spans,
            rounds=chosen.rounds,
            pause_s=chosen.pause_ms / 1000,
            flush_ms=chosen.flush_ms,
        )
        lines += rows_of(kind, alone, with_plugin)
        if kind == kinds[0]:
            first = (alone, with_plugin)
    alone, with_plugin = first
    for name, a, b, unit in (
        ("start-up until the first span", alone.started_s * 1000, with_plugin.started_s * 1000, "ms"),
        ("resident memory at the end", alone.memory_kib / 1024, with_plugin.memory_kib / 1024, "MiB"),
    ):
        lines.append(f"| {name} | {a:.0f} {unit} | {b:.0f} {unit} | {b - a:+.0f} {unit} | {b / a:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
