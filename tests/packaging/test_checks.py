"""Lint, format, types and layers, as tests: one command checks all."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.commands import ROOT

TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["lint", "format", "types", "layers"],
)
def test_check(command: list[str]) -> None:
    run = subprocess.run([str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
