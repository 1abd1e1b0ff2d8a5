"""The plug-in in processes whose OpenTelemetry is set up in the ways that there are, and that end in the ways that
there are."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spanmeter.testing.metering_service import MeteringService
from tests.integration.test_plugin_process import INSTRUMENTED, billed, finish, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


PROVIDER = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
def provider(**more):
    made = TracerProvider(**more)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made
"""


class TestProviders:
    def test_a_thousand_calls_at_0_percent(self, folder: Path) -> None:
        code = (
            INSTRUMENTED
            + PROVIDER
            + (
                "trace.set_tracer_provider(provider())\nfor _ in range(1000): call()\n"
                "print(exporter.get_finished_spans())"
            )
        )
        done = run(code, folder, OTEL_TRACES_SAMPLER="always_off")
        assert (done.stdout, done.stderr) == ("()\n", "")
        assert billed(folder)["billed"] == 1000

    def test_the_application_sets_its_provider_later(self, folder: Path) -> None:
        """Tracers that were taken before switch to it, as they would without the plug-in."""
        code = (
            INSTRUMENTED
            + PROVIDER
            + (
                "early = trace.get_tracer('early')\n"
                "call()\n"
                "mine = provider(); trace.set_tracer_provider(mine)\n"
                "assert trace.get_tracer_provider() is mine\n"
                "call(); early.start_span('x').end()\n"
                "print([span.name for span in exporter.get_finished_spans()])"
            )
        )
        done = run(code, folder)
        assert (done.stdout, done.stderr) == ("['chat', 'x']\n", "")
        assert billed(folder)["billed"] == 2

    def test_several_providers(self, folder: Path) -> None:
        code = (
            INSTRUMENTED
            + PROVIDER
            + (
                "trace.set_tracer_provider(provider())\n"
                "for one in (provider(), provider()):\n"
                "    trace.get_tracer = lambda name, one=one: one.get_tracer(name)\n"
                "    call()\n"
                "print(len(exporter.get_finished_spans()))"
            )
        )
        assert run(code, folder).stdout == "2\n"
        assert billed(folder)["billed"] == 2

    def test_without_a_provider_nothing_new_is_shown_or_sent(self, folder: Path) -> None:
        """Ids of ours, unsampled, in the next request's traceparent would turn off the sampling of who gets it."""
        code = """
from opentelemetry import trace
from opentelemetry.propagate import extract, inject
def look():
    found = {}
    inject(found)
    context = trace.get_current_span().get_span_context()
    return found, context.trace_id, context.span_id, int(context.trace_flags)
remote = extract({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
def application():
    tracer, seen = trace.get_tracer("t"), [look()]
    with tracer.start_as_current_span("outer", context=remote) as outer:
        seen.append(look())
        with tracer.start_as_current_span("inner"):
            seen.append(look())
        with trace.use_span(tracer.start_span("other", context=remote)):
            seen.append(look())
    with tracer.start_as_current_span("root"):
        seen.append(look())
    return seen
without = application()
import spanmeter_instrumentation
assert spanmeter_instrumentation.start()
assert application() == without, (application(), without)
with trace.get_tracer("t").start_as_current_span("request", attributes={"tenant.id": "acme"}):
    with trace.get_tracer("t").start_as_current_span("step"):
        trace.get_tracer("t").start_span("chat", attributes={"gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 10}).end()
"""
        done = run(code, folder)
        assert done.returncode == 0, done.stderr
        assert billed(folder)["billed"] == 1

    def test_a_scope_that_is_turned_off(self, folder: Path) -> None:
        """By a tracer configurator, as the declarative configuration has it."""
        code = (
            INSTRUMENTED
            + PROVIDER
            + (
                "from opentelemetry.sdk import trace as sdk\n"
                "off = getattr(sdk, '_disable_tracer_configurator', None)\n"
                "trace.set_tracer_provider(provider(_tracer_configurator=off) if off else provider())\n"
                "call()\nprint(off is None or exporter.get_finished_spans())"
            )
        )
        done = run(code, folder)
        assert done.stdout in ("()\n", "True\n"), done.stderr
        assert billed(folder)["billed"] == 1

    def test_start_is_idempotent_and_stop_undoes_it(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "assert spanmeter_instrumentation.start()\ncall()\nspanmeter_instrumentation.stop()\ncall()\n"
            "assert spanmeter_instrumentation.start()\ncall()"
        )
        assert run(code, folder).returncode == 0
        assert billed(folder)["billed"] == 2


class TestWhereItCannotSee:
    @pytest.mark.parametrize(
        ("before", "environ", "line"),
        [
            ("", {"OTEL_SDK_DISABLED": "true"}, "NOTHING IS METERED in this process: OTEL_SDK_DISABLED is true"),
            ("", {"SPANMETER_ENABLED": "false"}, "nothing is metered in this process: SPANMETER_ENABLED is false"),
            (
                "from opentelemetry import trace\n"
                "class Theirs(trace.TracerProvider):\n"
                "    def get_tracer(self, *_, **__): return trace.NoOpTracer()\n"
                "trace.set_tracer_provider(Theirs())\n",
                {},
                "NOTHING IS METERED of what __main__.Theirs traces: it is no tracer provider of opentelemetry-sdk",
            ),
            (
                "from opentelemetry.sdk.trace import Span\nSpan.end = lambda self, end_time=None: None\n",
                {},
                "is not as expected: NOTHING IS METERED; please report it",
            ),
        ],
    )
    @pytest.mark.parametrize("logging_set_up", ["", "import logging; logging.basicConfig()\n"])
    def test_one_line_says_so(
        self, folder: Path, before: str, environ: dict[str, str], line: str, logging_set_up: str
    ) -> None:
        done = run(logging_set_up + before + INSTRUMENTED + "call(); call()", folder, **environ)
        assert done.returncode == 0
        assert done.stderr.count(line) == 1, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr

    def test_also_for_a_provider_that_comes_later(self, folder: Path) -> None:
        code = INSTRUMENTED + "call()\ntrace.set_tracer_provider(trace.NoOpTracerProvider())\ncall()"
        done = run(code, folder)
        assert done.stderr.count("NOTHING IS METERED of what opentelemetry.trace.NoOpTracerProvider traces") == 1
        assert billed(folder)["billed"] == 1

    def test_an_unexpected_sdk_is_met_by_a_span_processor(self, folder: Path) -> None:
        code = (
            "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
            "trace.set_tracer_provider(TracerProvider())\ndel trace.ProxyTracer._tracer\n"
        ) + INSTRUMENTED
        done = run(code + "call()", folder)
        assert "only spans that this tracer provider samples are metered" in done.stderr
        assert billed(folder)["billed"] == 1


class TestTheHost:
    def test_own_traffic_is_not_traced_and_the_environment_is_as_it_was(self, folder: Path) -> None:
        """Of an HTTP client that everybody's instrumentation and the log's configuration would tell about."""
        code = (
            """
import logging, os
before = dict(os.environ)
logging.basicConfig(level=logging.DEBUG)
import httpx
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
sent, original = [], httpx.Client.send
def send(self, request, **named):  # what an instrumentation does
    suppressed = context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY)
    sent.append((str(request.url), bool(suppressed), trace.get_current_span().get_span_context().is_valid))
    return original(self, request, **named)
httpx.Client.send = send
trace.set_tracer_provider(TracerProvider())
"""
            + INSTRUMENTED
            + """
with trace.get_tracer("t").start_as_current_span("request"):
    call()
spanmeter_instrumentation.stop()
assert sent and all(one[1:] == (True, False) for one in sent), sent
assert dict(os.environ) == before
"""
        )
        with MeteringService() as service:
            done = run(code, folder, SPANMETER_ENDPOINT=service.url)
            assert done.returncode == 0, done.stderr
            assert len(service.events) == 2
        assert "httpx" not in done.stderr
        assert "httpcore" not in done.stderr
        assert {line.split(":")[1].split(".")[0] for line in done.stderr.splitlines() if ":" in line} <= {
            "spanmeter",
            "asyncio",
        }

    def test_a_span_that_a_finaliser_ends_while_we_write(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "import gc\n"
            "class Stream:\n"
            "    def __init__(self): self.me = self\n"
            "    def __del__(self): call()\n"
            "gc.set_threshold(1)\n"
            "for _ in range(200): Stream(); call()\n"
            "gc.collect()\n"
        )
        assert run(code, folder, SPANMETER_FLUSH_MS="0").returncode == 0
        assert billed(folder)["billed"] == 400

    def test_threads_that_go_on_to_the_end(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "import atexit, threading, time\n"
            "def work():\n"
            "    while True: time.sleep(0.001); trace.get_tracer('t').start_span('x').end()\n"
            "threading.Thread(target=work, daemon=True).start()\n"
            "threading.Thread(target=lambda: (time.sleep(0.2), call())).start()\n"
            "call()"
        )
        done = run(code, folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert billed(folder)["billed"] == 2

    def test_a_span_that_ends_after_the_end(self, folder: Path) -> None:
        code = "import atexit\natexit.register(lambda: call())\n" + INSTRUMENTED + "call()"
        assert run(code, folder).returncode == 0
        finish(folder)
        assert billed(folder)["billed"] == 2

    def test_the_end_is_bounded(self, folder: Path) -> None:
        """By SPANMETER_SHUTDOWN_S, however many traces wait and whatever the service does."""
        with MeteringService() as service:
            url = service.url
        began = time.monotonic()
        code = INSTRUMENTED + "for _ in range(3000): call()\nimport time; print(time.time(), flush=True)"
        done = run(code, folder, SPANMETER_ENDPOINT=url, SPANMETER_SHUTDOWN_S="1", SPANMETER_FLUSH_MS="1000")
        assert done.returncode == 0
        assert time.monotonic() - began < 20
        assert time.time() - float(done.stdout) < 5

    @pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)"])
    def test_a_sudden_end_loses_nothing_that_was_flushed(self, folder: Path, how: str) -> None:
        code = INSTRUMENTED + f"import os, signal\ncall()\nassert spanmeter_instrumentation.flush()\n{how}"
        run(code, folder)
        finish(folder)
        assert billed(folder)["billed"] == 1

    def test_asyncio_tasks(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "import asyncio\n"
            "async def one():\n"
            "    with trace.get_tracer('t').start_as_current_span('request'):\n"
            "        await asyncio.sleep(0); call()\n"
            "async def main(): await asyncio.gather(*(one() for _ in range(50)))\n"
            "asyncio.run(main())"
        )
        assert run(code, folder).returncode == 0
        assert billed(folder)["billed"] == 50


class TestForks:
    def test_while_other_threads_write(self, folder: Path) -> None:
        """No deadlock, no fork that waits long, no call lost or doubled: 30 forks under load, each child calls once."""
        code = (
            INSTRUMENTED
            + """
import os, threading, time
stop, made = threading.Event(), []
def work():
    count = 0
    while not stop.is_set():
        call(); count += 1
        time.sleep(0.001)
    made.append(count)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
longest, children = 0.0, []
for _ in range(30):
    began = time.monotonic()
    child = os.fork()
    if not child:
        call()
        assert spanmeter_instrumentation.flush()
        os._exit(0)
    longest = max(longest, time.monotonic() - began)
    children.append(child)
for child in children: assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in threads: thread.join()
print(sum(made) + 30, longest)
"""
        )
        done = run(code, folder, SPANMETER_FLUSH_MS="1")
        assert done.returncode == 0, done.stderr
        calls, longest_s = done.stdout.split()
        finish(folder)
        assert billed(folder)["billed"] == int(calls)
        assert float(longest_s) < 2.5

    def test_while_another_process_holds_the_database(self, folder: Path) -> None:
        """The writer waits for it; a fork does not."""
        code = (
            INSTRUMENTED
            + """
import sqlite3, threading, time
call(); assert spanmeter_instrumentation.flush()
from multiprocessing import get_context
holder = sqlite3.connect(os.environ["SPANMETER_DATA_DIR"] + "/spanmeter.db", isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
call(); time.sleep(0.2)  # the journal's thread waits now
began = time.monotonic()
child = os.fork()
if not child: os._exit(0)
took = time.monotonic() - began
os.waitpid(child, 0)
holder.execute("ROLLBACK"); holder.close()
assert spanmeter_instrumentation.flush()
print(took)
"""
        )
        done = run("import os\n" + code, folder)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) < 0.9
        finish(folder)
        assert billed(folder)["billed"] == 2


def test_sigterm_in_the_middle_of_work_harms_nothing(folder: Path) -> None:
    """The default action: the process is gone. What had been written is there, the folder is whole."""
    code = INSTRUMENTED + "print(flush=True)\nwhile True: call(); spanmeter_instrumentation.flush()"
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={"SPANMETER_DATA_DIR": str(folder), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
    finish(folder)
    assert billed(folder)["billed"] > 0
