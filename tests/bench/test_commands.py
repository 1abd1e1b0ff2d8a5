"""Every command of the bench that a page names is run, in its short form."""

import re
import subprocess
import sys

import pytest

from tests.bench.report import FILES
from tests.bench.servers import ROOT

SHORT = {
    "tests.bench": ["--alone", "--only", "5 % LLM", "--seconds", "0.2"],
    "tests.bench.assembly": ["--calls", "500"],
    "tests.bench.convert": ["--gigabytes", "0.003", "--gzip"],
    "tests.bench.cores": ["--rounds", "1", "--seconds", "0.2", "--connections", "8", "--way", "http"],
    "tests.bench.endurance": ["--minutes", "0.03", "--rate", "500"],
    "tests.bench.growth": ["--short", "--way", "pending", "--most", "1"],
    "tests.bench.plugin": ["--spans", "40", "--rounds", "1", "--kind", "LLM span, recorded"],
    "tests.bench.report": ["--short"],
    "tests.bench.stages": ["--requests", "2"],
}
SAYS = {
    "tests.bench": r"^5 % LLM, 512 × 8 grpc +spanmeter, to the ack +[\d,]{5,} ",
    "tests.bench.assembly": r'"events": 1000,.* "calls_a_cpu_second": \d{3,}',
    "tests.bench.convert": r"^protobuf, gzip, --jobs 1: [\d,]+ spans, .* [\d,]{5,} spans/CPU s",
    "tests.bench.cores": r"^http +2 +[\d,]{5,} .*\nhttp: 2 processes take \d\.\d\d times what one takes on one core, ",
    "tests.bench.endurance": r"^first quarter, then last:\n.*CPU.*\n.*CPU",
    "tests.bench.growth": r"^\| 1 traces not decided( \| [1-9][\d,]*){3} \|( 0\.\d\d \|){2}",
    "tests.bench.plugin": r"^\| LLM span, recorded",
    "tests.bench.stages": r"^\| LLM spans, 512 a request( \| \d+\.\d\d){4} \|$",
    "tests.bench.report": r"^\| LLM spans to the ack \| ≥ 80,000 spans/CPU s \| [\d,]{5,} spans/CPU s \| (yes|no) \|$",
}


def named() -> dict[str, set[str]]:
    """Options by module, as the pages name them."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        for line in file.read_text().splitlines():
            for module, rest in re.findall(r"python -m (tests\.bench[.\w]*)([^`]*)`", line):
                options = re.findall(r"(?<!\w)--[a-z-]+", rest + (line if line.startswith("| `") else ""))
                found.setdefault(module, set()).update(options)
    return found


def test_all_that_is_named_is_run_here() -> None:
    assert named().keys() == SHORT.keys() == SAYS.keys()


@pytest.mark.parametrize("module", sorted(SHORT))
def test_a_command(module: str) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)

    told = run("--help").stdout
    assert named()[module] <= set(re.findall(r"--[a-z-]+", told))
    ended = run(*SHORT[module])
    assert "Traceback" not in ended.stderr, ended.stderr[-2000:]
    assert ended.returncode in ((0, 1) if module == "tests.bench.endurance" else (0,)), ended.stderr[-2000:]
    assert re.search(SAYS[module], ended.stdout, re.MULTILINE), ended.stdout
