import pytest

from spanmeter.errors import SettingsError
from spanmeter.openmeter.endpoint import REGIONS, events_url


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_has_an_address(region: str) -> None:
    url = events_url(region=region, endpoint="", has_token=True)
    assert url == f"https://{region}.api.konghq.com/v3/openmeter/events"


@pytest.mark.parametrize(
    "url",
    [
        "https://openmeter.cloud/api/v1/events",
        "https://om.example/api/v3/openmeter/events",
        "http://localhost:8888/api/v1/events",
        "http://127.0.0.1:8888/api/v3/openmeter/events",
        "http://127.9.9.9/api/v1/events",
        "http://[::1]:8888/api/v1/events",
        "http://om.localhost/api/v1/events",
    ],
)
def test_a_full_url_is_used_as_it_is(url: str) -> None:
    assert events_url(region="us", endpoint=url, has_token=True) == url


def test_clear_text_is_for_those_without_a_token() -> None:
    url = "http://openmeter:8888/api/v1/events"
    assert events_url(region="us", endpoint=url, has_token=False) == url
    with pytest.raises(SettingsError, match="TLS: token would travel in clear to openmeter"):
        events_url(region="us", endpoint=url, has_token=True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("us.api.konghq.com/v3/openmeter/events", "neither https:// nor http://"),
        ("ftp://host/x", "neither https:// nor http://"),
        ("https:///v3/openmeter/events", "names no host"),
        ("https://host:99999/x", "is not a URL"),
        ("https://[::1/x", "is not a URL"),
        ("https://host/x y", "blanks"),
        ("https://host/x\n", "blanks"),
        ("https://host/x#y", "fragment"),
        ("http://localhost.evil.example/x", "TLS: token would travel in clear"),
        ("http://10.0.0.1/x", "TLS: token would travel in clear"),
    ],
)
def test_a_wrong_url_is_named(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match="SPANMETER_ENDPOINT") as caught:
        events_url(region="us", endpoint=url, has_token=True)
    assert words in str(caught.value)


@pytest.mark.parametrize("url", ["https://kpat_secret@host/x", "https://user:kpat_secret@host/x", "x://kpat_secret@h"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="credentials") as caught:
        events_url(region="us", endpoint=url, has_token=False)
    assert "secret" not in str(caught.value)


def test_a_region_that_konnect_has_not() -> None:
    with pytest.raises(SettingsError, match="KONNECT_REGION: 'mars' is none of us, eu"):
        events_url(region="mars", endpoint="", has_token=True)
