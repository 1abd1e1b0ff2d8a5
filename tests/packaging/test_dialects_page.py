"""docs/dialects.md shows an example that works."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from spanmeter import custom_dialects
from spanmeter.cli import main
from tests.packaging.commands import ROOT

PAGE = (ROOT / "docs" / "dialects.md").read_text()


def block(kind: str) -> str:
    [found] = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_example_bills_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(block("json"))
    (tmp_path / "dialects.toml").write_text(block("toml"))
    result = CliRunner().invoke(
        main,
        ["convert", "-q", str(tmp_path / "trace.json")],
        env={"SPANMETER_DIALECT_FILE": str(tmp_path / "dialects.toml")},
    )
    assert result.exit_code == 0
    assert result.output == block("jsonl")


@pytest.mark.parametrize(
    "part",
    [
        custom_dialects.CustomDialect,
        custom_dialects.CountsPart,
        custom_dialects.CallPart,
        custom_dialects.KindPart,
    ],
)
def test_the_page_names_every_field(part: type[custom_dialects.CustomDialect]) -> None:
    table = PAGE[PAGE.index("| field |") :]
    assert [name for name in part.model_fields if name not in table] == []
