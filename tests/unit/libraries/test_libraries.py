"""What is proposed for which environment, and which libraries count as unseen."""

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from spanmeter.libraries import LIBRARIES, Plan, plan, unseen

GENAI_OPENAI = "opentelemetry-instrumentation-genai-openai"
OPENAI_V2 = "opentelemetry-instrumentation-openai-v2"
UTIL = "opentelemetry-util-genai"
NEW = {"opentelemetry-api": "1.45.2"}
OLD = {"opentelemetry-api": "1.39.1"}


def states(made: Plan) -> dict[str, str]:
    return {one.library: f"{one.state} {one.package}".rstrip() for one in made.proposals}


def test_the_table_is_well_formed() -> None:
    for library in LIBRARIES:
        assert library.instrumentations
        SpecifierSet(library.itself)
        for one in library.instrumentations:
            SpecifierSet(one.fits)
            SpecifierSet(one.api)
            assert Requirement(one.requirement).name == one.package
            assert all(Requirement(need).name for need in one.needs)
    names = [library.distribution for library in LIBRARIES]
    assert len(set(names)) == len(names)


def test_nothing_is_installed() -> None:
    assert plan(NEW) == Plan(proposals=(), install=(), remove=())


@pytest.mark.parametrize(
    ("installed", "install", "remove"),
    [
        ({"openai": "3.57.0"}, [f"{GENAI_OPENAI}>=1.3b0", f"{UTIL}>=1.3b0,<2"], []),
        ({"openai": "3.57.0", GENAI_OPENAI: "1.3b0", UTIL: "1.3b0"}, [], []),
        ({"openai": "3.57.0", OPENAI_V2: "2.4b0", UTIL: "1.1b0", "httpx": "0.28.1"}, [], []),
        (  # dead: it imports what util-genai does not have any more
            {"openai": "3.57.0", OPENAI_V2: "2.4b0", UTIL: "1.3b0", "httpx": "0.28.1"},
            [f"{GENAI_OPENAI}>=1.3b0"],
            [OPENAI_V2],
        ),
        ({"openai": "4.0"}, [f"{OPENAI_V2}>=2.4b0", f"{UTIL}>=0.4b0,<1.2", "httpx"], []),
        ({"openai": "1.20"}, [], []),
        ({"openai": "2.9", "openinference-instrumentation-openai": "0.1.66"}, [], []),
    ],
    ids=["new", "there", "v2-works", "v2-is-dead", "too-new", "too-old", "another-works"],
)
def test_openai(installed: dict[str, str], install: list[str], remove: list[str]) -> None:
    made = plan(NEW | installed)
    assert (list(made.install), list(made.remove)) == (install, remove)


def test_an_older_opentelemetry_stays_where_something_fits_it() -> None:
    made = plan(OLD | {"openai": "2.9", "httpx": "0.28.1"})
    assert made.install == (f"{OPENAI_V2}>=2.4b0", f"{UTIL}>=0.4b0,<1.2")
    made = plan(OLD | {"openai": "2.9", "anthropic": "1.9", "httpx": "0.28.1"})
    assert states(made)["anthropic"] == "install openinference-instrumentation-anthropic"


def test_openai_v2_gives_way_where_another_needs_a_newer_util_genai() -> None:
    made = plan(NEW | {"openai": "3.1", OPENAI_V2: "2.4b0", UTIL: "1.1b0", "httpx": "0.28.1", "google-genai": "1.40"})
    assert states(made) == {
        "openai": f"install {GENAI_OPENAI}",
        "google-genai": "install opentelemetry-instrumentation-google-genai",
    }
    assert made.remove == (OPENAI_V2,)
    assert made.install.count(f"{UTIL}>=1.3b0,<2") == 1


@pytest.mark.parametrize("openai", ["1.30", "2.9", "3.57", "4.2"])
@pytest.mark.parametrize("api", ["1.39", "1.45", ""])
@pytest.mark.parametrize("others", [(), ("anthropic",), ("google-genai", "cohere")])
@pytest.mark.parametrize("there", [{}, {OPENAI_V2: "2.4b0", UTIL: "1.1b0"}, {OPENAI_V2: "2.4b0", UTIL: "1.3b0"}])
def test_what_is_proposed_works_together(openai: str, api: str, others: tuple[str, ...], there: dict[str, str]) -> None:
    installed = {"openai": openai, **dict.fromkeys(others, "1.50"), **there}
    made = plan(installed | ({"opentelemetry-api": api} if api else {}))
    utils = [Requirement(text).specifier for text in made.install if Requirement(text).name == UTIL]
    assert len(set(utils)) <= 1
    uses_v2 = any(one.package == OPENAI_V2 for one in made.proposals)
    assert not (uses_v2 and any(spec.contains("1.3b0", prereleases=True) for spec in utils))


def test_a_library_that_traces_itself() -> None:
    made = plan(NEW | {"anthropic": "2.12", "mistralai": "1.9"})
    assert states(made) == {"anthropic": "itself", "mistralai": "itself"}
    assert plan(NEW | {"anthropic": "0.60"}).install


class TestUnseen:
    def seen(self, **fields: object) -> list[str]:
        given: dict[str, object] = {"in_use": {"openai"}, "versions": {"openai": "3"}}
        given |= {"instrumented": (), "providers": ()}
        return [library.distribution for library in unseen(**(given | fields))]  # type: ignore[arg-type]

    def test_in_use_and_nobody_looks(self) -> None:
        assert self.seen() == ["openai"]
        assert self.seen(in_use=set()) == []

    def test_an_instrumentation_or_a_call_that_was_seen(self) -> None:
        assert self.seen(instrumented={"openai"}) == []
        assert self.seen(providers={"azure.ai.openai"}) == []
        assert self.seen(providers={"anthropic"}, instrumented={"anthropic"}) == ["openai"]

    def test_by_version(self) -> None:
        for version, found in (("0.60", ["anthropic"]), ("2.12", []), ("", ["anthropic"])):
            assert self.seen(in_use={"anthropic"}, versions={"anthropic": version}) == found
