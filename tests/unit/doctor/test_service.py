"""Meters, region and clock, told from what the service answered."""

from email.utils import formatdate

import pytest

from spanmeter.doctor.finding import Verdict
from spanmeter.doctor.service import CLOCK_WRONG_S, Meters, check_clock, check_meters, check_region
from spanmeter.openmeter.endpoint import region_url
from spanmeter.openmeter.meters import Meter, meters_url
from spanmeter.openmeter.probe import Probe
from spanmeter.openmeter.reply import Halted, Retry, Taken
from spanmeter.settings import Settings, load

FORBIDDEN = Halted(status=403, detail="no permission", hint="h")


def settings(region: str = "us") -> Settings:
    return load({"KONNECT_TOKEN": "spat_x", "KONNECT_REGION": region})


def meter(**fields: object) -> Meter:
    given = {
        "key": "llm_tokens",
        "event_type": "kong.llm_request",
        "aggregation": "sum",
        "value": "$.tokens",
        "dimensions": {"type": "$.type"},
    }
    return Meter(**(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("meters", "verdict", "word"),
    [
        ([meter()], Verdict.OK, "llm_tokens sums"),
        ([meter(event_type="other"), meter(aggregation="count", value=""), meter()], Verdict.OK, "llm_tokens"),
        ([], Verdict.WRONG, "no meter counts events of type `kong.llm_request`"),
        ([meter(event_type="prompt")], Verdict.WRONG, "there are prompt"),
        ([meter(aggregation="count", value="")], Verdict.WRONG, "llm_tokens is count of events"),
        ([meter(value="$.total")], Verdict.WRONG, "llm_tokens is sum of $.total"),
        ([meter(dimensions={"model": "$.model"})], Verdict.WARNING, "no dimension reads `$.type`"),
        (FORBIDDEN, Verdict.WARNING, "HTTP 403: no permission"),
        (Retry(reason="HTTP 503: busy"), Verdict.WARNING, "busy"),
    ],
)
def test_meters(meters: Meters, verdict: Verdict, word: str) -> None:
    finding = check_meters(meters, settings())
    assert finding.verdict is verdict
    assert word in finding.said
    assert bool(finding.todo) is (verdict is not Verdict.OK)


class TestRegion:
    def ask(self, answers: dict[str, Meters], region: str = "us") -> tuple[Verdict, str]:
        by_url = {region_url(name): answer for name, answer in answers.items()}
        asked: list[str] = []

        def meters_of(url: str) -> Meters:
            asked.append(url)
            return by_url.get(url, [])

        finding = check_region(settings(region), answers.get(region, []), meters_of)
        self.asked = asked
        return finding.verdict, finding.said + finding.todo

    def test_the_right_one_is_not_doubted(self) -> None:
        assert self.ask({"us": [meter()], "eu": [meter()]})[0] is Verdict.OK
        assert self.asked == []

    def test_the_meters_are_elsewhere(self) -> None:
        verdict, text = self.ask({"us": [meter(event_type="other")], "eu": [meter()]})
        assert verdict is Verdict.WRONG
        assert "KONNECT_REGION=eu" in text
        assert len(self.asked) == 5

    def test_the_token_may_list_elsewhere_only(self) -> None:
        assert self.ask({"us": FORBIDDEN, "au": [meter()]}) == (
            Verdict.WRONG,
            "us has no meter for these events, au hasset KONNECT_REGION=au",
        )

    def test_a_token_that_may_only_ingest(self) -> None:
        verdict, text = self.ask(dict.fromkeys(("us", "eu", "au", "me", "in", "sg"), FORBIDDEN))
        assert verdict is Verdict.WARNING
        assert "may not list meters" in text

    def test_no_meter_anywhere(self) -> None:
        assert self.ask({})[0] is Verdict.WARNING


@pytest.mark.parametrize(
    ("offset_s", "verdict", "word"),
    [
        (0, Verdict.OK, "agrees"),
        (29, Verdict.OK, "agrees"),
        (-40, Verdict.WARNING, "behind"),
        (40, Verdict.WARNING, "ahead"),
        (CLOCK_WRONG_S + 5, Verdict.WRONG, "305 s ahead of"),
    ],
)
def test_clock(offset_s: float, verdict: Verdict, word: str) -> None:
    ours_s = 1_800_000_000.5 + offset_s
    at_ns = int(ours_s * 1e9)
    probe = Probe(reply=Taken(), date=formatdate(1_800_000_000, usegmt=True), sent_ns=at_ns, answered_ns=at_ns)
    finding = check_clock(probe)
    assert (finding.verdict, word in finding.said) == (verdict, True)


def test_a_date_that_cannot_be_read() -> None:
    assert check_clock(Probe(reply=Taken(), date="soon", sent_ns=0, answered_ns=0)).verdict is Verdict.WARNING


def test_where_meters_are() -> None:
    assert meters_url(region_url("eu")) == "https://eu.api.konghq.com/v3/openmeter/meters"
    assert meters_url("http://localhost:8888/api/v1/events") == "http://localhost:8888/api/v1/meters"
    assert meters_url("http://localhost:8888/collect") is None
