"""The README says what is: its tables are generated, its commands are run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spanmeter.cli import main
from tests.packaging.commands import ROOT, shell_blocks

README = ROOT / "README.md"


def marked(name: str) -> str:
    found = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- /{name} -->", README.read_text(), re.DOTALL)
    assert found, f"the README has no part named {name}"
    return found.group(1)


def test_the_settings_table_is_the_programs_own() -> None:
    assert marked("settings") == CliRunner().invoke(main, ["settings", "--markdown"]).output


def test_the_commands_are_the_programs_own() -> None:
    output = CliRunner().invoke(main, ["--help"], prog_name="spanmeter").output
    assert marked("commands") == "```text\n" + output[output.index("Commands:") :] + "```\n"


def test_every_promise_names_a_test_that_there_is() -> None:
    part = README.read_text().partition("## What is promised, and what shows it")[2].partition("\n## ")[0]
    promises = re.findall(r"^\d\. (.*?)(?=^\d\. |^$)", part, re.DOTALL | re.MULTILINE)
    assert len(promises) == 5
    for promise in promises:
        named = re.findall(r"`(tests/\S+?\.py)`", promise)
        assert named, promise
        for name in named:
            assert re.search(r"^def test_", (ROOT / name).read_text(), re.MULTILINE), name


def test_the_readme_has_just_two_set_up_commands() -> None:
    assert [heading for heading, _ in shell_blocks()] == ["Try it", "Run the tests"]


def test_ci_runs_the_readmes_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    [function] = re.findall(r"^command_under\(\).*?^}$", script, re.DOTALL | re.MULTILINE)
    assert script.rstrip().endswith("""bash -euo pipefail -c "$(command_under 'Run the tests')\"""")
    found = subprocess.run(
        ["bash", "-c", f"{function}\ncommand_under 'Run the tests'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.strip() == dict(shell_blocks())["Run the tests"].strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to copy the tracked files only")
def test_the_demo_command_works_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    command = dict(shell_blocks())["Try it"].replace("python3", sys.executable, 1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    run = subprocess.run(
        ["bash", "-c", command], cwd=clone, capture_output=True, text=True, timeout=420, env=environ, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert '"subject":"acme"' in run.stdout
