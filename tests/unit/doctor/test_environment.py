import pytest

from spanmeter.doctor.environment import check_environment, read_settings
from spanmeter.doctor.finding import Verdict


@pytest.mark.parametrize(
    ("environ", "verdict"),
    [
        ({}, Verdict.OK),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Verdict.OK),
        ({"OTEL_TRACES_SAMPLER": " ParentBased_Always_On "}, Verdict.OK),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.0"}, Verdict.OK),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, Verdict.OK),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, Verdict.WARNING),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}, Verdict.WARNING),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Verdict.WARNING),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, Verdict.WARNING),
        ({"OTEL_SDK_DISABLED": "true"}, Verdict.WRONG),
    ],
)
def test_the_sampler(environ: dict[str, str], verdict: Verdict) -> None:
    [finding] = check_environment(environ)
    assert finding.verdict is verdict
    assert bool(finding.todo) is (verdict is not Verdict.OK)


def test_settings_all_mistakes_and_slips() -> None:
    settings, found = read_settings(
        {"SPANMETER_BATCH_EVENTS": "many", "KONNECT_REGION": "mars", "SPANMETER_BATCH_EVENT": "1"}
    )
    assert settings is None
    assert [finding.verdict for finding in found] == [Verdict.WARNING, Verdict.WRONG, Verdict.WRONG]
    assert "did you mean SPANMETER_BATCH_EVENTS?" in found[0].said


def test_settings_in_order() -> None:
    settings, [finding] = read_settings({})
    assert settings is not None
    assert finding.verdict is Verdict.OK
    _, [finding] = read_settings({"SPANMETER_ENABLED": "false"})
    assert finding.verdict is Verdict.WARNING
