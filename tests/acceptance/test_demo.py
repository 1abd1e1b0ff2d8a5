"""`spanmeter demo`, as somebody runs it who has just installed it."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from spanmeter.demo import show
from spanmeter.demo.comparison import Tokens, tokens_served
from spanmeter.demo.provider import ServedCall
from spanmeter.errors import UsageError
from spanmeter.testing.metering_event import violations
from tests.acceptance.child import STOP_TIMEOUT_S, accepts
from tests.acceptance.collector import parsed_lines, run_spanmeter

TIMEOUT_S = 60.0
COMMAND = [sys.executable, "-m", "spanmeter", "demo"]


def test_the_demo_meters_what_its_endpoint_served(tmp_path: Path) -> None:
    # A token, an endpoint and a proxy of the caller's are not for the demo.
    foreign = {
        "KONNECT_TOKEN": "spat_secret",
        "SPANMETER_ENDPOINT": "http://127.0.0.1:9/events",
        "OTEL_TRACES_EXPORTER": "console",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_API_KEY": "sk-secret",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "TMPDIR": str(tmp_path),
    }
    run = subprocess.run(
        COMMAND, env={**os.environ, **foreign}, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert run.returncode == 0, run.stderr
    events = parsed_lines(run.stdout)
    assert violations(events) == []
    assert {event["subject"] for event in events} == {"acme", "globex"}
    assert len({event["id"] for event in events}) == len(events) == 12
    given, made = (
        sum(event["data"]["tokens"] for event in events if event["data"]["type"] == kind)
        for kind in ("input", "output")
    )
    assert f"served {given:,} input and {made:,} output tokens: ${given + 2 * made:,.2f}." in run.stdout
    assert "\nequal: " in run.stdout
    assert "no model\nis asked, nothing leaves this machine" in run.stdout
    assert [line.split()[0] for line in run.stderr.splitlines()][-1] == "done"
    assert "secret" not in run.stdout + run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_books_are_kept_where_asked(tmp_path: Path) -> None:
    run = run_spanmeter("demo", "--keep", str(tmp_path / "books"), data_dir=tmp_path / "unused")
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith(f"SPANMETER_DATA_DIR={tmp_path / 'books'} spanmeter usage\n")
    usage = run_spanmeter("usage", "--csv", data_dir=tmp_path / "books")
    assert len(usage.stdout.splitlines()) == 1 + 4
    again = run_spanmeter("demo", "--keep", str(tmp_path / "books"), data_dir=tmp_path / "unused")
    assert again.returncode == 2
    assert "there are books already" in again.stderr


def test_a_difference_is_told_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def last_call_twice(calls: tuple[ServedCall, ...]) -> Tokens:
        return tokens_served((*calls, calls[-1]))

    monkeypatch.setattr("spanmeter.demo.show.tokens_served", last_call_twice)
    with pytest.raises(SystemExit) as end:
        show.run_demo(None)
    assert end.value.code == 1
    shown = capsys.readouterr().out
    assert "\nNOT equal: " in shown
    assert "globex, gpt-4o-mini-2024-07-18, input: metered 2,943, served 4,663\n" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        COMMAND,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        lines = iter(demo.stderr.readline, "")
        port = next(int(line.rpartition(":")[2]) for line in lines if "takes OTLP on" in line)
        assert accepts(port)
        demo.send_signal(number)
        assert demo.wait(STOP_TIMEOUT_S) == 128 + number
        assert "Traceback" not in demo.stderr.read()
    assert not accepts(port)
    assert list(tmp_path.iterdir()) == []


def test_without_its_parts_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_installed(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none_installed)
    with pytest.raises(UsageError) as caught:
        show.run_demo(None)
    assert "opentelemetry-instrumentation-openai-v2" in caught.value.message
    assert caught.value.hint == "pip install 'spanmeter[demo]'"
