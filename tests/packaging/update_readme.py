"""Writes the generated parts of the README anew: `python -m tests.packaging.update_readme`."""

import re

from click.testing import CliRunner

from spanmeter.cli import main
from tests.packaging.commands import ROOT


def replaced(text: str, name: str, content: str) -> str:
    return re.sub(
        rf"(<!-- {name}: .*?-->\n).*?(<!-- /{name} -->)",
        lambda found: found.group(1) + content + found.group(2),
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    readme = ROOT / "README.md"
    help_text = CliRunner().invoke(main, ["--help"], prog_name="spanmeter").output
    text = replaced(readme.read_text(), "settings", CliRunner().invoke(main, ["settings", "--markdown"]).output)
    text = replaced(text, "commands", "```text\n" + help_text[help_text.index("Commands:") :] + "```\n")
    readme.write_text(text)
