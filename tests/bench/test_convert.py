"""`convert` holds no more in memory than its window, whatever the format; the command measures any size, here 39 MB."""

import pytest

from tests.bench.convert import converted
from tests.bench.loads import Load

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
