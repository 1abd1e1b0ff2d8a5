"""`convert` holds no more in memory than its window, whatever the format; the command measures any size, here 39 MB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.convert import converted
from tests.bench.loads import Load
from tests.bench.recordings import FORMATS, gzipped, recording
from tests.bench.servers import ROOT

LOAD = Load(name="", spans=512, text_bytes=4096)
REQUESTS = 16
"""Of 2.4 MB: more spans than the window holds, and more bytes than a process needs to live."""


@pytest.mark.parametrize(
    ("form", "is_gzip", "jobs", "most_mb"),
    [
        ("one resource", False, 1, 105),
        ("prefixed", True, 1, 105),
        ("json lines", True, 1, 105),
        ("protobuf", False, 2, 300),
    ],
)
def test_memory_stays(form: str, is_gzip: bool, jobs: int, most_mb: int) -> None:
    found = converted(LOAD, form, REQUESTS, is_gzip=is_gzip, options=["--window", "3000", "--jobs", str(jobs)])
    assert found.peak_mb < most_mb  # 39 MB held at once take 170 MB


def test_every_format_says_the_same(tmp_path: Path) -> None:
    made = set()
    for form in FORMATS:
        path = tmp_path / form
        path.write_bytes(b"".join(gzipped(recording(Load(name="", spans=40, is_mix=True), form, 2))))
        command = [sys.executable, "-m", "spanmeter", "convert", "-q", "--summary", "-", str(path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        summary = json.loads(ended.stderr)
        assert (summary["spans"], summary["llm_spans"]) == (80, 4)  # two of twenty in each request
        made.add(frozenset(ended.stdout.splitlines()))
    [events] = made
    assert len(events) == 8
