"""The GenAI instrumentations that are installed: does each come alive, as `opentelemetry-instrument` would start it?

One that does not is skipped there, some without a word, and its calls are not metered. Each is tried in a process of
its own, so that none can harm another or this one.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, entry_points, version

import msgspec

from spanmeter.doctor.finding import Finding, ok, warning, wrong
from spanmeter.libraries import OPENAI_V2, OPENAI_V2_UTIL, UTIL_GENAI, Plan, is_in

TIMEOUT_S = 30.0
AT_ONCE = 4
GENAI = re.compile(
    r"agno|aleph|anthropic|autogen|azure-ai|bedrock|beeai|botocore|claude|cohere|crewai|deepseek|dspy|gemini|gen-?ai|groq"
    r"|guardrails|haystack|instructor|langchain|litellm|llama|llm|mistral|ollama|openai|openinference|openlit|portkey"
    r"|pydantic-ai|replicate|sagemaker|semantic-kernel|smolagents|strands|together|transformers|vertex|watsonx|writer|xai",
    re.IGNORECASE,
)
# Prints one line of JSON: what became of the entry point that is named by its two arguments.
_TRIAL = """
import json, sys
from importlib.metadata import entry_points
name, value = sys.argv[1:]
result = {"state": "alive", "said": ""}
[entry] = [e for e in entry_points(group="opentelemetry_instrumentor") if (e.name, e.value) == (name, value)][:1]
try:
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts
    conflict = get_dist_dependency_conflicts(entry.dist) if entry.dist is not None else None
    if conflict is not None:
        found = getattr(conflict, "found", None) or getattr(conflict, "found_any", None)
        result = {"state": "unfit" if found else "idle", "said": str(conflict)}
    else:
        entry.load()().instrument(skip_dep_check=True)
except BaseException as error:
    result = {"state": "dead", "said": f"{type(error).__name__}: {error}"}
print("\\n" + json.dumps(result))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An entry point of OpenTelemetry's instrumentors and the distribution that it belongs to."""

    name: str
    value: str
    distribution: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is alive, dead, unfit (its library is there in a version that it does not instrument) or idle (its
    library is not there)."""

    state: str
    said: str = ""


def installed_genai() -> list[Installed]:
    """Those of GenAI, told by their names; spanmeter's own is none of them."""
    found = {}
    for entry in entry_points(group="opentelemetry_instrumentor"):
        one = Installed(name=entry.name, value=entry.value, distribution=_distribution(entry))
        if one.distribution != "spanmeter" and (GENAI.search(one.name) or GENAI.search(one.distribution)):
            found[one.name, one.value] = one
    return sorted(found.values(), key=lambda one: (one.name, one.value))


def installed_versions(path: Sequence[str] | None = None) -> dict[str, str]:
    """Every distribution's name, as package indexes spell it, and version; on `path` instead of this interpreter's."""
    found = distributions() if path is None else distributions(path=list(path))
    versions: dict[str, str] = {}
    for one in found:
        name = one.metadata["Name"]  # None where somebody left an empty folder
        if name:
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    return versions


def check_libraries(found: Plan) -> Iterator[Finding]:
    """The client libraries that nothing instruments."""
    for one in found.proposals:
        if one.state == "install":
            yield warning(
                "libraries",
                f"{one.library} {one.version} is installed, and nothing that works makes its calls visible here",
                f"`spanmeter bootstrap --install` brings {one.package}",
            )


def check_instrumentations(
    installed: Sequence[Installed], *, trial: Callable[[Installed], Trial] | None = None, disabled: str = ""
) -> Iterator[Finding]:
    """`disabled` is what OTEL_PYTHON_DISABLED_INSTRUMENTATIONS says."""
    if not installed:
        yield ok(
            "instrumentations", "none for GenAI is installed here: the plug-in has nothing to meter, OTLP does not care"
        )
    off = {name.strip() for name in disabled.split(",")}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for one, result in zip(installed, pool.map(trial or try_out, installed), strict=True):
            yield _judge(one, result, is_off=bool(off & {one.name, "*"}))


def try_out(one: Installed) -> Trial:
    """Start it in a process of its own, and let it go."""
    try:
        run = subprocess.run(  # noqa: S603 - our own interpreter, names from its own packages
            [sys.executable, "-c", _TRIAL, one.name, one.value],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        )
    except subprocess.TimeoutExpired:
        return Trial(state="dead", said=f"not started after {TIMEOUT_S:.0f} s")
    try:
        return msgspec.json.decode(run.stdout.rstrip().rpartition(b"\n")[2], type=Trial)
    except msgspec.MsgspecError:
        return Trial(state="dead", said=f"its process ended with {run.returncode}")


def _judge(one: Installed, result: Trial, *, is_off: bool) -> Finding:
    name = f"{one.distribution} ({one.name})" if one.distribution else one.name
    said = " ".join(result.said.split())[:300]
    match result.state:
        case "idle":
            return ok("instrumentations", f"{name}: its library is not installed")
        case _ if is_off:
            return warning(
                "instrumentations",
                f"{name} is switched off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
                "take it off that list, unless another one traces the same calls",
            )
        case "alive":
            return ok("instrumentations", f"{name} works")
        case "unfit":
            return wrong("instrumentations", f"{name}: {said}", "install versions that fit each other")
        case _:
            return wrong("instrumentations", f"{name} is dead, its calls are not metered: {said}", remedy(one, said))


def remedy(one: Installed, said: str) -> str:
    """What mends an instrumentation that does not start."""
    if one.distribution == OPENAI_V2 and "opentelemetry.util.genai" in said and _newer_util_genai():
        return "pip install 'opentelemetry-util-genai<1.2', or `pip install 'spanmeter[openai]'`"
    if missing := re.search(r"No module named '([\w.]+)'", said):
        return f"install what it misses: pip install {missing[1].partition('.')[0]}"
    return f"pip install --upgrade {one.distribution or one.name}, or remove it"


def _newer_util_genai() -> bool:
    try:
        return not is_in(version(UTIL_GENAI), OPENAI_V2_UTIL)
    except PackageNotFoundError:
        return False


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else ""
