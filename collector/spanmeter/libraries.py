"""The client libraries of LLM services, and what instruments each: the one table behind `spanmeter bootstrap`, `doctor`
and the plug-in's report of what it does not see.

Source: the METADATA of the named releases (Requires-Dist of the extra `instruments`), read on 2026-11-25. That
openai-v2 2.4b0 imports a module which util-genai 1.2b0 removed, and the module `httpx` which openai 3 no longer
brings; that the SDKs of Anthropic (from 1.17) and Mistral (1.x) write spans of their own: seen in runs of them.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentation:
    """A package that instruments a library. `fits` are the library's versions, `api` those of opentelemetry-api that it
    takes; `needs` are requirements that its own metadata do not say, or not well enough to work."""

    package: str
    since: str
    fits: str
    api: str = ">=1.0"
    needs: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        return f"{self.package}>={self.since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A client library. `module` in `sys.modules` means that it is in use; where that says too little, a client class
    of the name `client`, made by it, does. `providers` are the conventions' names on spans of its calls; for a library
    that calls those of many, the dialect of its own spans.

    `itself` are the versions that write spans of their own. `instrumentations`: the best first.
    """

    distribution: str
    module: str
    providers: tuple[str, ...]
    instrumentations: tuple[Instrumentation, ...]
    client: str = ""
    itself: str = ""

    def traces_itself(self, version: str) -> bool:
        return bool(self.itself) and is_in(version, self.itself)


GENAI_API: Final = ">=1.43,<2"
UTIL_GENAI: Final = "opentelemetry-util-genai"
OPENAI_V2: Final = "opentelemetry-instrumentation-openai-v2"
OPENAI_V2_UTIL: Final = ">=0.4b0,<1.2"


def _genai(package: str, fits: str) -> Instrumentation:
    return Instrumentation(
        package=f"opentelemetry-instrumentation-{package}",
        since="1.3b0",
        fits=fits,
        api=GENAI_API,
        needs=(f"{UTIL_GENAI}>=1.3b0,<2",),
    )


def _openinference(name: str, since: str, fits: str) -> Instrumentation:
    return Instrumentation(package=f"openinference-instrumentation-{name}", since=since, fits=fits)


LIBRARIES: Final = (
    Library(
        distribution="openai",
        module="openai",
        providers=("openai", "azure.ai.openai"),
        instrumentations=(
            _genai("genai-openai", ">=1.26,<4"),
            Instrumentation(
                package=OPENAI_V2,
                since="2.4b0",
                fits=">=1.26",
                api=">=1.39,<2",
                needs=(f"{UTIL_GENAI}{OPENAI_V2_UTIL}", "httpx"),
            ),
            _openinference("openai", "0.1.66", ">=2.8"),
        ),
    ),
    Library(
        distribution="anthropic",
        module="anthropic",
        providers=("anthropic",),
        itself=">=1.17",
        instrumentations=(
            _genai("genai-anthropic", ">=0.51,<3"),
            _openinference("anthropic", "3.1.0", ">=1.8"),
        ),
    ),
    Library(
        distribution="google-genai",
        module="google.genai",
        providers=("gcp.gemini", "gcp.vertex_ai", "gcp.gen_ai"),
        instrumentations=(
            _genai("google-genai", ">=1.32,<3"),
            _openinference("google-genai", "1.4.14", ">=1"),
        ),
    ),
    Library(
        distribution="boto3",
        module="botocore.client",
        client="BedrockRuntime",
        providers=("aws.bedrock",),
        instrumentations=(
            Instrumentation(package="opentelemetry-instrumentation-botocore", since="0.60b0", fits=">=1"),
            _openinference("bedrock", "0.1.61", ">=1"),
        ),
    ),
    Library(
        distribution="cohere",
        module="cohere",
        providers=("cohere",),
        instrumentations=(_openinference("cohere", "0.1.15", ">=5.13"),),
    ),
    Library(
        distribution="mistralai",
        module="mistralai",
        providers=("mistral_ai",),
        itself=">=1,<2",
        instrumentations=(_openinference("mistralai", "2.2.2", ">=2"),),
    ),
    Library(
        distribution="ollama",
        module="ollama",
        providers=("ollama",),
        instrumentations=(_openinference("ollama", "0.1.13", ">=0.4"),),
    ),
    Library(
        distribution="litellm",
        module="litellm",
        providers=("litellm",),
        instrumentations=(_openinference("litellm", "0.1.51", ">=1.65"),),
    ),
    Library(
        distribution="groq",
        module="groq",
        providers=("groq",),
        instrumentations=(_openinference("groq", "0.1.33", ">=0.9"),),
    ),
    Library(
        distribution="together",
        module="together",
        providers=("together", "together_ai"),
        instrumentations=(_openinference("together", "0.1.13", ">=2"),),
    ),
)


def is_in(version: str, specifiers: str) -> bool:
    """Whether a version is one of those; a version that cannot be read is not."""
    try:
        return SpecifierSet(specifiers).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is to be done for one library that is installed. `state` is `installed`, `install`, `itself` (it needs
    nothing) or `none` (nothing known fits its version); `package` instruments it."""

    library: str
    version: str
    state: str
    package: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Proposals, and what pip would have to install and remove for all of them to work together."""

    proposals: tuple[Proposal, ...]
    install: tuple[str, ...]
    remove: tuple[str, ...]


def plan(installed: Mapping[str, str]) -> Plan:
    """What fits the `installed` distributions (name to version).

    What is installed and works stays. Else the best that takes the library and the opentelemetry-api that are here;
    where these would not work together, or none does, OpenTelemetry is upgraded. openai-v2 and the packages named genai
    need different util-genai: if any of the latter is called for, genai-openai takes openai-v2's place.
    """
    chosen = {
        library.distribution: _choice(library, installed) for library in LIBRARIES if library.distribution in installed
    }
    openai = chosen.get("openai")
    if (
        openai is not None
        and openai.package == OPENAI_V2
        and any(one is not None and one.api == GENAI_API for one in chosen.values())
    ):
        others = (one for one in _library("openai").instrumentations if one.package != OPENAI_V2)
        chosen["openai"] = next((one for one in others if is_in(installed["openai"], one.fits)), None)
    proposals, install = [], []
    for name, instrumentation in chosen.items():
        version = installed[name]
        if instrumentation is None:
            state = "itself" if _library(name).traces_itself(version) else "none"
            proposals.append(Proposal(library=name, version=version, state=state))
            continue
        missing = _missing(instrumentation, installed)
        state = "install" if missing else "installed"
        proposals.append(Proposal(library=name, version=version, state=state, package=instrumentation.package))
        install += missing
    replaced = "openai" in chosen and chosen["openai"] is not None and chosen["openai"].package != OPENAI_V2
    return Plan(
        proposals=tuple(proposals),
        install=tuple(dict.fromkeys(install)),
        remove=(OPENAI_V2,) if replaced and OPENAI_V2 in installed else (),
    )


def _choice(library: Library, installed: Mapping[str, str]) -> Instrumentation | None:
    version = installed[library.distribution]
    fit = [one for one in library.instrumentations if is_in(version, one.fits)]
    for one in fit:
        if not _missing(one, installed):
            return one
    if library.traces_itself(version):
        return None
    api = installed.get("opentelemetry-api", "")
    return next((one for one in fit if not api or is_in(api, one.api)), fit[0] if fit else None)


def _missing(instrumentation: Instrumentation, installed: Mapping[str, str]) -> list[str]:
    """Requirements that are not met, with the package's own if any is not."""
    missing = [need for need in instrumentation.needs if not _is_met(need, installed)]
    if instrumentation.package not in installed or missing:
        return [instrumentation.requirement, *missing]
    return []


def _is_met(requirement: str, installed: Mapping[str, str]) -> bool:
    name = requirement.partition(">")[0]
    return name in installed and is_in(installed[name], requirement.removeprefix(name))


def _library(distribution: str) -> Library:
    [found] = [one for one in LIBRARIES if one.distribution == distribution]
    return found


def unseen(
    *, in_use: Container[str], versions: Mapping[str, str], instrumented: Container[str], providers: Container[str]
) -> list[Library]:
    """Libraries in use (their distributions) whose calls nobody reports: they do not trace themselves, are not among
    the `instrumented` distributions, and no call of one of their providers was seen."""
    return [
        library
        for library in LIBRARIES
        if library.distribution in in_use
        and library.distribution not in instrumented
        and not library.traces_itself(versions.get(library.distribution, ""))
        and not any(provider in providers for provider in library.providers)
    ]
