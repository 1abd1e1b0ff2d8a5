"""`spanmeter bootstrap` on environments that are made up on disk. pip is never run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spanmeter.cli import main
from spanmeter.doctor import instrumentations
from spanmeter.doctor.finding import Verdict
from spanmeter.libraries import plan


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def install(name: str, version: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    install("OpenAI", "3.57.0")
    install("opentelemetry_instrumentation.openai-v2", "2.4b0")
    install("opentelemetry-util-genai", "1.3b0")
    install("opentelemetry-api", "1.45.2")
    (tmp_path / "empty.dist-info").mkdir()
    versions = instrumentations.installed_versions([str(tmp_path)])
    monkeypatch.setattr(instrumentations, "installed_versions", lambda: versions)
    return tmp_path


def test_names_are_spelt_as_indexes_do(environment: Path) -> None:
    assert instrumentations.installed_versions() == {
        "openai": "3.57.0",
        "opentelemetry-instrumentation-openai-v2": "2.4b0",
        "opentelemetry-util-genai": "1.3b0",
        "opentelemetry-api": "1.45.2",
    }


def test_shows_the_commands_and_changes_nothing(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    result = CliRunner().invoke(main, ["bootstrap"])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "openai 3.57.0: opentelemetry-instrumentation-genai-openai fits",
        f"{sys.executable} -m pip uninstall -y opentelemetry-instrumentation-openai-v2",
        f"{sys.executable} -m pip install 'opentelemetry-instrumentation-genai-openai>=1.3b0'",
    ]


def test_json(environment: Path) -> None:
    said = json.loads(CliRunner().invoke(main, ["bootstrap", "--json"]).output)
    assert said["install"] == ["opentelemetry-instrumentation-genai-openai>=1.3b0"]
    assert said["remove"] == ["opentelemetry-instrumentation-openai-v2"]
    assert said["libraries"][0]["state"] == "install"


@pytest.mark.parametrize(("code", "runs", "exit_code"), [(0, 2, 0), (1, 1, 1)], ids=["works", "fails"])
def test_install_runs_pip(
    environment: Path, monkeypatch: pytest.MonkeyPatch, code: int, runs: int, exit_code: int
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    result = CliRunner().invoke(main, ["bootstrap", "--install"])
    assert result.exit_code == exit_code
    assert len(commands) == runs
    assert all(command[:3] == [sys.executable, "-m", "pip"] for command in commands)


def test_doctor_says_the_same(environment: Path) -> None:
    [finding] = instrumentations.check_libraries(plan(instrumentations.installed_versions()))
    assert finding.verdict is Verdict.WARNING
    assert "openai 3.57.0" in finding.said
    assert "bootstrap" in finding.todo
