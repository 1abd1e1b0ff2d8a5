"""The README's shell blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shell_blocks() -> list[tuple[str, str]]:
    """(heading, commands) of every ```sh block."""
    blocks = []
    for section in re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        blocks += [(heading, text) for text in re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)]
    return blocks
