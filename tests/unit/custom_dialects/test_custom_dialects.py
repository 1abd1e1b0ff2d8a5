import json
from pathlib import Path

import pytest

from spanmeter.custom_dialects import MOST_BYTES, read_dialect_file
from spanmeter.errors import SettingsError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.settings import load, rows
from spanmeter.usage.dialects import DIALECTS

GOOD = """
[[dialect]]
name = "own"
where = { "own.stage" = "prod", "own.billed" = true }
[dialect.counts]
input = "own.in"
output = ["own.out", "own.output"]
[dialect.kind]
attribute = "own.kind"
call = "model"
aggregate = ["run", 2]
"""


def written(folder: Path, content: str, name: str = "dialects.toml") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def problems(folder: Path, content: str, name: str = "dialects.toml") -> list[str]:
    path = written(folder, content, name)
    with pytest.raises(SettingsError) as caught:
        load({"SPANMETER_DIALECT_FILE": str(path)})
    prefix = f"SPANMETER_DIALECT_FILE: {str(path)!r}"
    assert all(line.startswith(prefix) for line in caught.value.problems)
    return [line.removeprefix(prefix).removeprefix(": ").strip() for line in caught.value.problems]


def test_what_a_file_says(tmp_path: Path) -> None:
    [own] = read_dialect_file(written(tmp_path, GOOD)).dialects
    assert own.counts.input == ("own.in",) and own.counts.output == ("own.out", "own.output")
    assert own.where == {"own.stage": "prod", "own.billed": "true"}
    assert own.kind is not None and own.kind.aggregate == ("run", "2")


def test_json_says_the_same(tmp_path: Path) -> None:
    import tomllib

    other = written(tmp_path, json.dumps(tomllib.loads(GOOD)), "dialects.json")
    assert read_dialect_file(other).dialects == read_dialect_file(written(tmp_path, GOOD)).dialects


def test_they_come_before_those_built_in(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    settings = load({"SPANMETER_DIALECT_FILE": str(path)})
    [own, *rest] = configured_recogniser(settings).dialects
    assert own.name == "own" and tuple(rest) == DIALECTS
    assert {row.variable: row.value for row in rows(settings)}["SPANMETER_DIALECT_FILE"] == str(path)
    assert tuple(configured_recogniser(load({})).dialects) == DIALECTS


def test_every_mistake_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [[dialect]]
        name = "my own"
        span = "a"
        [dialect.counts]
        output = 3
        outptu = "x"
        [[dialect]]
        name = "b"
        scope = "*"
        [dialect.counts]
        input = "i"
        [[dialect]]
        name = "c"
        span = "c"
        [dialect.counts]
        input = []
        cache_included = "perhaps"
        [dialect.kind]
        attribute = "k"
        call = ["x"]
        ignored = ["x"]
        """,
    )
    assert [line.partition(": ")[0] for line in found] == [
        "dialect 1, name",
        "dialect 1, counts.input",
        "dialect 1, counts.output",
        "dialect 1, counts.outptu",
        "dialect 2",
        "dialect 3, counts.input",
        "dialect 3, counts.cache_included",
        "dialect 3, kind",
    ]
    assert found[1].endswith("is missing")
    assert found[3].endswith("is no field")
    assert "scope" in found[4]
    assert "'x'" in found[7]


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("[[dialect]\n", "dialects.toml", "is no TOML"),
        ("{", "dialects.json", "is no JSON"),
        ("[" * 100_000, "dialects.json", "is no JSON"),
        ("", "dialects.toml", "describes no dialect"),
        ("[]", "dialects.json", "the file"),
        (" " * (MOST_BYTES + 1), "dialects.toml", "is longer than"),
        (GOOD + GOOD, "dialects.toml", "'own' is used twice"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, name: str, expected: str) -> None:
    [line] = problems(tmp_path, content, name)
    assert expected in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"SPANMETER_DIALECT_FILE": str(tmp_path / "none.toml"), "SPANMETER_BATCH_EVENTS": "x"})
    assert len(caught.value.problems) == 2
    assert any("No such file" in line for line in caught.value.problems)
