"""The plug-in's entry point in processes of their own: the tracer provider is one a process."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.ledger.status import read_status
from spanmeter.store.database import Database

INSTRUMENTED = """
from opentelemetry import trace
import spanmeter_instrumentation
spanmeter_instrumentation.start()
def call(name="chat"):
    trace.get_tracer("t").start_span(name, attributes={"gen_ai.operation.name": "chat", "tenant.id": "acme",
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}).end()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def run(code: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANMETER_", "KONN"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"SPANMETER_DATA_DIR": str(folder)} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def billed(folder: Path) -> dict[str, int]:
    database = Database.open_existing(folder)
    assert database is not None
    with closing(database):
        return {row.outcome: row.spans for row in read_status(database).outcomes}


def finish(folder: Path) -> None:
    """What the next process or `spanmeter deliver` does."""
    code = "from spanmeter.cli import main; main(['deliver', '--until-empty'])"
    done = run(code, folder, SPANMETER_TRACE_QUIET_S="0.1", SPANMETER_TRACE_MAX_S="0.2")
    assert done.returncode == 0, done.stderr


class TestInstrumentor:
    def test_leaves_the_provider_to_the_application_and_finishes_at_exit_without_grpc(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "call()\nimport sys\n"
            "print(type(trace.get_tracer_provider()).__name__, [name for name in sys.modules if 'grpc' in name])"
        )
        done = run(code, folder)
        assert (done.returncode, done.stdout) == (0, "ProxyTracerProvider []\n"), done.stderr
        assert billed(folder) == {"billed": 1}

    def test_joins_the_provider_that_is_there(self, folder: Path) -> None:
        code = (
            "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider\n"
            "mine = TracerProvider(); trace.set_tracer_provider(mine)\n" + INSTRUMENTED + "call()\n"
            "print(trace.get_tracer_provider() is mine)"
        )
        assert run(code, folder).stdout == "True\n"
        assert billed(folder) == {"billed": 1}

    def test_stop_finishes(self, folder: Path) -> None:
        code = INSTRUMENTED + "call(); spanmeter_instrumentation.stop()\nimport os; os._exit(0)"
        assert run(code, folder).returncode == 0
        assert billed(folder) == {"billed": 1}

    @pytest.mark.parametrize(
        "environ",
        [
            {"SPANMETER_BATCH_EVENTS": "many"},
            {"SPANMETER_ENDPOINT": "ftp://example.org"},
            {"KONNECT_TOKEN": "spat_x", "KONNECT_TOKEN_FILE": "/x"},
        ],
    )
    def test_wrong_settings_turn_metering_off_and_say_so(self, folder: Path, environ: dict[str, str]) -> None:
        done = run(INSTRUMENTED + "call(); print('alive')", folder, **environ)
        assert (done.returncode, done.stdout) == (0, "alive\n")
        assert "NOTHING IS METERED" in done.stderr
        assert next(iter(environ)) in done.stderr
        assert "spat_x" not in done.stderr
        assert "Traceback" not in done.stderr
        assert not folder.exists()

    def test_turned_off(self, folder: Path) -> None:
        done = run(INSTRUMENTED + "call(); print(type(trace.get_tracer_provider()))", folder, SPANMETER_ENABLED="false")
        assert (done.returncode, "Proxy" in done.stdout) == (0, True)
        assert done.stderr == "nothing is metered in this process: SPANMETER_ENABLED is false\n"
        assert not folder.exists()

    def test_a_provider_of_another_kind(self, folder: Path) -> None:
        code = (
            "from opentelemetry import trace\ntrace.set_tracer_provider(trace.NoOpTracerProvider())\n" + INSTRUMENTED
        ) + "call(); print('alive')"
        done = run(code, folder)
        assert (done.returncode, done.stdout) == (0, "alive\n")
        assert "NoOpTracerProvider" in done.stderr

    def test_a_forked_child_starts_anew(self, folder: Path) -> None:
        """The parent's spans wait in memory at the fork: they are the parent's to write, and only its."""
        code = INSTRUMENTED + (
            "import os, sys\ncall(); call()\n"
            "child = os.fork()\ncall()\n"
            "spanmeter_instrumentation.stop()\n"
            "if not child: os._exit(0)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
        )
        done = run(code, folder, SPANMETER_FLUSH_MS="60000")
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
        run(
            "import os; from pathlib import Path; from spanmeter.settings import load\n"
            "from spanmeter.clock import SystemClock; from spanmeter.wiring import make_assembler\n"
            "from spanmeter.store.database import Database\n"
            "settings = load(os.environ); database = Database.open(settings.data_dir)\n"
            "assembler = make_assembler(settings, database, SystemClock())\n"
            "while assembler.step(close=True): pass\n",
            folder,
        )
        assert billed(folder) == {"billed": 4}


class TestFork:
    """A fork while the file is open: children inherit files, not SQLite's locks on them."""

    @pytest.mark.parametrize("turn", range(4))
    def test_before_and_after_the_first_write(self, folder: Path, turn: int) -> None:
        code = INSTRUMENTED + (
            "import os\n"
            "call(); spanmeter_instrumentation.flush(); call()\n"
            "child = os.fork()\n"
            "call(); spanmeter_instrumentation.flush(); call()\n"
            "spanmeter_instrumentation.stop()\n"
            "if child: assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        )
        done = run(code, folder)
        assert done.returncode == 0, done.stderr
        finish(folder)  # who comes last may find the other at work, and leave its spans on disk
        assert billed(folder) == {"billed": 6}

    def test_the_parent_ends_and_others_come_before_the_child_goes_on(self, folder: Path) -> None:
        code = INSTRUMENTED + (
            "import os, sys\n"
            "call(); spanmeter_instrumentation.flush()\n"
            "there, back = os.pipe(), os.pipe()\n"
            "if os.fork():\n"
            "    os.read(there[0], 1); spanmeter_instrumentation.stop()\n"
            "    from spanmeter.store.database import Database\n"
            "    import subprocess\n"
            "    subprocess.run([sys.executable, '-c', 'import pathlib, sys; "
            "from spanmeter.store.database import Database; Database.open(pathlib.Path(sys.argv[1])).close()', "
            "os.environ['SPANMETER_DATA_DIR']], check=True)\n"
            "    os.write(back[1], b'.'); os.wait()\n"
            "else:\n"
            "    call(); assert spanmeter_instrumentation.flush()\n"
            "    os.write(there[1], b'.'); os.read(back[0], 1)\n"
            "    call(); assert spanmeter_instrumentation.flush(); spanmeter_instrumentation.stop(); os._exit(0)\n"
        )
        done = run(code, folder)
        assert done.returncode == 0, done.stderr
        finish(folder)
        assert billed(folder) == {"billed": 3}

    def test_children_of_multiprocessing(self, folder: Path) -> None:
        # They end by os._exit: neither atexit nor the tracer provider's shutdown runs.
        code = INSTRUMENTED + (
            "import multiprocessing\n"
            "context = multiprocessing.get_context('fork')\n"
            "children = [context.Process(target=call) for _ in range(4)]\n"
            "for child in children: child.start()\n"
            "for child in children: child.join()\n"
        )
        done = run(code, folder)
        assert done.returncode == 0, done.stderr
        finish(folder)
        assert billed(folder) == {"billed": 4}

    def test_a_pool_that_is_ended_by_sigterm_as_soon_as_it_has_answered(self, folder: Path) -> None:
        """What `with Pool() as pool:` does when its block is left: no worker has time for anything more."""
        code = INSTRUMENTED + (
            "import multiprocessing\n"
            "context = multiprocessing.get_context('fork')\n"
            "for _ in range(3):\n"
            "    with context.Pool(2) as pool: pool.map(call, ['chat'] * 4)\n"
        )
        done = run(code, folder)
        assert (done.returncode, done.stderr) == (0, "")
        finish(folder)
        assert billed(folder) == {"billed": 12}
