"""The wheel holds the two packages and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.commands import ROOT


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [wheel] = Path(out).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_top_level_names(names: set[str]) -> None:
    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"spanmeter", "spanmeter_instrumentation"}


def test_types_and_sql_ride_along(names: set[str]) -> None:
    assert {
        "spanmeter/py.typed",
        "spanmeter_instrumentation/py.typed",
        "spanmeter/store/queries.sql",
        "spanmeter/store/migrations/0001_initial.sql",
    } <= names


def test_entry_points(names: set[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
