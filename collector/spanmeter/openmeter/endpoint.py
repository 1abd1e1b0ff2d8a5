"""The address that events are sent to: a Konnect region's, or any other events endpoint in full."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from spanmeter.errors import SettingsError

REGIONS = ("us", "eu", "au", "me", "in", "sg")


def region_url(region: str) -> str:
    """The events endpoint of a Konnect region. Raises SettingsError for a region that Konnect does not have."""
    if region not in REGIONS:
        raise SettingsError([f"KONNECT_REGION: {region!r} is none of {', '.join(REGIONS)}"])
    return f"https://{region}.api.konghq.com/v3/openmeter/events"


def events_url(*, region: str, endpoint: str, has_token: bool) -> str:
    """The URL to POST events to: `endpoint` as it is, where there is one, else the region's.

    `endpoint` is in full: Konnect's `/v3/openmeter/events`, OpenMeter's `/api/v3/openmeter/events` or
    `/api/v1/events`. Raises SettingsError, which never quotes a URL that holds credentials.
    """
    if not endpoint:
        return region_url(region)
    if problem := _problem(endpoint, has_token=has_token):
        raise SettingsError([f"SPANMETER_ENDPOINT: {problem}"])
    return endpoint


def _problem(url: str, *, has_token: bool) -> str:
    if any(char.isspace() or not char.isprintable() for char in url):
        return "has blanks or control characters in it"
    try:
        parts = urlsplit(url)
        # `port` parses when it is read.
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if "@" in parts.netloc:
        return "has credentials in it; put the token into KONNECT_TOKEN or KONNECT_TOKEN_FILE"
    if parts.scheme not in ("http", "https"):
        return f"{url!r} begins with neither https:// nor http://"
    if not parts.hostname:
        return f"{url!r} names no host"
    if parts.fragment:
        return f"{url!r} has a fragment (#), which is never sent"
    if parts.scheme == "http" and has_token and not _is_loopback(parts):
        return f"TLS: token would travel in clear to {parts.hostname}; use https://"
    return ""


def _is_loopback(parts: SplitResult) -> bool:
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
