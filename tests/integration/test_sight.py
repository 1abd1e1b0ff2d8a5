"""What the plug-in says that it does not see: at exit, and in `status`. Libraries are made up on disk."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spanmeter.ledger.status import Status, read_status
from spanmeter.store.database import Database
from spanmeter.store.unseen import KEPT_NS, MOST_ROWS, keep_unseen

PLUGIN = """
from opentelemetry import trace
import spanmeter_instrumentation
spanmeter_instrumentation.start()
def call(provider="openai", scope="t", **more):
    trace.get_tracer(scope).start_span("chat", attributes={"gen_ai.operation.name": "chat", "tenant.id": "acme",
        "gen_ai.request.model": "m", "gen_ai.provider.name": provider} | more).end()
USAGE = {"gen_ai.usage.input_tokens": 10}
"""
INSTRUMENTOR = """
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
class Made(BaseInstrumentor):
    def instrumentation_dependencies(self): return ("cohere >= 5.0",)
    def _instrument(self, **kwargs): pass
    def _uninstrument(self, **kwargs): pass
"""


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self.packages = folder / "packages"
        for name, version, code in (
            ("cohere", "5.20.0", ""),
            ("ollama", "0.6.0", ""),
            ("litellm", "1.110.2", ""),
            ("anthropic", "2.12.0", ""),
            ("boto3", "1.43.0", ""),
            ("botocore", "1.43.0", "class BaseClient: ..."),
        ):
            module = self.packages / name
            module.mkdir(parents=True)
            (module / "__init__.py").write_text("")
            (module / "client.py").write_text(code)
            metadata = self.packages / f"{name}-{version}.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def run(self, code: str) -> str:
        """Run a program to its end; what it said on standard error."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANMETER_", "KONN"))
        }
        done = subprocess.run(
            [sys.executable, "-c", PLUGIN + code],
            env=clean | {"SPANMETER_DATA_DIR": str(self.folder), "PYTHONPATH": str(self.packages)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def status(self) -> Status:
        database = Database.open_existing(self.folder)
        assert database is not None
        with closing(database):
            return read_status(database)

    def unseen(self) -> dict[str, int]:
        return {f"{row.library} {row.version}": row.processes for row in self.status().unseen}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_libraries_that_nothing_instruments(host: Host) -> None:
    for _ in range(2):
        said = host.run("import cohere, ollama, anthropic")
        assert said.count("not metered") == 1
        assert "cohere 5.20.0" in said
        assert "ollama 0.6.0" in said
        assert "anthropic" not in said  # it traces itself
    assert host.unseen() == {"cohere 5.20.0": 2, "ollama 0.6.0": 2}
    shown = subprocess.run(
        [sys.executable, "-m", "spanmeter", "status", "--json"],
        env=os.environ | {"SPANMETER_DATA_DIR": str(host.folder)},
        capture_output=True,
        check=True,
    ).stdout
    assert {row["library"] for row in json.loads(shown)["unseen"]} == {"cohere", "ollama"}


def test_an_instrumentor_that_works_or_calls_that_were_seen(host: Host) -> None:
    instrumented = INSTRUMENTOR + "Made().instrument(skip_dep_check=True)\n"
    said = host.run(instrumented + "import cohere, ollama; call('ollama', **USAGE)")
    assert said == ""
    assert host.unseen() == {}
    assert "litellm" in host.run("import litellm; call('openai', **USAGE)")
    assert host.run("import litellm; call('openai', scope='litellm', **USAGE)") == ""
    said = host.run(INSTRUMENTOR + "Made()\nimport cohere")
    assert "cohere" in said


def test_nothing_to_say_leaves_nothing_behind(host: Host) -> None:
    assert host.run("import botocore.client, json") == ""
    assert not host.folder.exists()


def test_bedrock_is_in_use_when_its_client_was_made(host: Host) -> None:
    said = host.run("import botocore.client as c\nclass BedrockRuntime(c.BaseClient): ...")
    assert "boto3 1.43.0" in said


def test_calls_without_usage_by_model(host: Host) -> None:
    said = host.run("call(); call(); call(**USAGE)\ncall(**{'gen_ai.request.model': 'n'})")
    assert said.count("\n") == 1
    assert "2 calls of m had no usage; 1 calls of n had no usage" in said
    assert [(row.model, row.calls) for row in host.status().unmetered] == [("m", 2), ("n", 1)]


def test_a_disk_that_cannot_be_written(host: Host) -> None:
    host.folder.write_text("in the way")
    said = host.run("import cohere; print('alive')")
    assert "cohere 5.20.0" in said
    assert "Traceback" not in said


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    now_ns = 10 * KEPT_NS

    def keep(process: str, at_ns: int) -> None:
        keep_unseen(database, process=process, program="p", libraries={"openai": "3"}, now_ns=at_ns)

    with closing(Database.open(tmp_path)) as database:
        keep("old", now_ns - KEPT_NS - 1)
        keep("new", now_ns)
        keep_unseen(database, process="new", program="p", libraries={"cohere": "5"}, now_ns=now_ns + 1)
        assert [row[:4] for row in database.execute("unseen_read")] == [("cohere", "5", "p", 1)]
        many = {f"library-{number}": "1" for number in range(MOST_ROWS + 50)}
        keep_unseen(database, process="many", program="p", libraries=many, now_ns=now_ns + 2)
        keep("last", now_ns + 3)
        assert sum(row[3] for row in database.execute("unseen_read")) <= MOST_ROWS + 50 + 1
        assert "cohere" not in [row[0] for row in database.execute("unseen_read")]
