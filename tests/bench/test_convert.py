"""The bench of `convert` measures what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import convert
from tests.bench.loads import Load


def test_both_recordings_are_of_the_same_spans(tmp_path: Path) -> None:
    paths = convert.write_recordings(tmp_path, Load(name="mix", spans=40, is_mix=True), 2)
    made = [
        subprocess.run(
            [sys.executable, "-m", "spanmeter", "convert", "-q", "--summary", "-", path],
            capture_output=True,
            check=True,
        )
        for path in paths.values()
    ]
    assert made[0].stdout == made[1].stdout
    assert made[0].stdout.count(b"\n") == 8  # two spans of twenty in each, two events of each
    assert b'"spans":80,"llm_spans":4' in made[0].stderr
    assert made[0].stderr == made[1].stderr


def test_a_run_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    convert.main(["--requests", "1", "--jobs", "1"])
    _, starting, protobuf, lines = capsys.readouterr().out.splitlines()
    assert starting.startswith("none: starting")
    for line in (protobuf, lines):
        *_, jobs, a_cpu_second, a_second, cpu_s, _, peak_mb = line.split()
        assert jobs == "1"
        assert float(cpu_s) > 0
        assert int(a_cpu_second.replace(",", "")) > 0 < int(a_second.replace(",", ""))
        assert int(peak_mb) > 20
