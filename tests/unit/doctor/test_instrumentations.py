import pytest

from spanmeter.doctor import instrumentations
from spanmeter.doctor.finding import Verdict
from spanmeter.doctor.instrumentations import GENAI, Installed, Trial, check_instrumentations, remedy

OPENAI = Installed(
    name="openai",
    value="opentelemetry.instrumentation.openai_v2:OpenAIInstrumentor",
    distribution="opentelemetry-instrumentation-openai-v2",
)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("alive", Verdict.OK), ("idle", Verdict.OK), ("dead", Verdict.WRONG), ("unfit", Verdict.WRONG)],
)
def test_verdicts(state: str, verdict: Verdict) -> None:
    [finding] = check_instrumentations([OPENAI], trial=lambda _: Trial(state=state, said="ImportError: x"))
    assert finding.verdict is verdict
    assert bool(finding.todo) is (verdict is Verdict.WRONG)


def test_one_that_is_switched_off() -> None:
    [finding] = check_instrumentations([OPENAI], trial=lambda _: Trial(state="alive"), disabled="requests , openai")
    assert finding.verdict is Verdict.WARNING


def test_none_is_installed() -> None:
    [finding] = check_instrumentations([])
    assert finding.verdict is Verdict.OK


def test_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ModuleNotFoundError: No module named 'opentelemetry.util.genai.instruments'"
    monkeypatch.setattr(instrumentations, "version", lambda _: "1.2b0")
    assert "opentelemetry-util-genai<1.2" in remedy(OPENAI, said)
    monkeypatch.setattr(instrumentations, "version", lambda _: "0.4b0")
    assert "pip install opentelemetry" in remedy(OPENAI, said)
    assert remedy(OPENAI, "ModuleNotFoundError: No module named 'httpx'").endswith("pip install httpx")
    assert "--upgrade opentelemetry-instrumentation-openai-v2" in remedy(OPENAI, "TypeError: x")


@pytest.mark.parametrize(
    ("name", "is_genai"),
    [
        ("openai", True),
        ("opentelemetry-instrumentation-anthropic", True),
        ("openinference-instrumentation-langchain", True),
        ("google-genai", True),
        ("botocore", True),
        ("requests", False),
        ("opentelemetry-instrumentation-fastapi", False),
        ("system_metrics", False),
    ],
)
def test_which_are_of_genai(name: str, is_genai: bool) -> None:
    assert bool(GENAI.search(name)) is is_genai
