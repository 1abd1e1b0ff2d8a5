"""The service: reached, token, clock, meters, region."""

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from spanmeter.clock import SystemClock
from spanmeter.doctor.finding import Finding, ok, warning, wrong
from spanmeter.errors import SettingsError
from spanmeter.openmeter.endpoint import REGIONS, region_url
from spanmeter.openmeter.meters import Meter, meters_url, read_meters
from spanmeter.openmeter.probe import Probe, probe_events, words_of
from spanmeter.openmeter.reading import ServiceReader
from spanmeter.openmeter.reply import Halted, Refused, Retry, Taken
from spanmeter.settings import Settings
from spanmeter.wiring import configured_events_url, token_source

TIMEOUT_S = 5.0
CLOCK_WARNING_S, CLOCK_WRONG_S = 30.0, 300.0

Meters = list[Meter] | Retry | Refused | Halted
MetersOf = Callable[[str], Meters]
"""The meters beside an events endpoint."""


def check_service(settings: Settings, *, meters_of: MetersOf | None = None) -> Iterator[Finding]:
    """Each step takes seconds at most. No event is sent: an empty batch, and requests that read."""
    if not settings.delivers:
        yield warning(
            "service",
            "no KONNECT_TOKEN and no SPANMETER_ENDPOINT: usage stays in the local ledger and nobody is billed",
            "set KONNECT_TOKEN and KONNECT_REGION",
        )
        return
    try:
        url = configured_events_url(settings)
    except SettingsError as error:
        for problem in error.problems:
            yield wrong("service", problem, "mend the setting")
        return
    reached = _check_reach(url)
    yield reached
    probe = probe_events(url, token=token_source(settings), timeout_s=TIMEOUT_S)
    yield _judge_probe(url, probe)
    if probe.date:
        yield check_clock(probe)
    if not isinstance(probe.reply, Taken):
        return
    ask = meters_of or _asking(settings)
    meters = ask(url)
    yield check_meters(meters, settings)
    if settings.endpoint is None:
        yield check_region(settings, meters, ask)


def check_meters(meters: Meters, settings: Settings) -> Finding:
    """Whether some meter counts the events that are sent."""
    event_type = settings.event_type
    form = f"event type `{event_type}`, aggregation `sum` of `$.tokens`, dimensions `$.type`, `$.model`, `$.provider`"
    if not isinstance(meters, list):
        return warning(
            "meters",
            f"it cannot be told whether a meter counts `{event_type}`: {words_of(meters)}",
            f"look in Konnect under Metering & Billing: {form}",
        )
    same_type = [meter for meter in meters if meter.event_type == event_type]
    if not same_type:
        others = sorted({meter.event_type for meter in meters})
        return wrong(
            "meters",
            f"no meter counts events of type `{event_type}`" + (f"; there are {', '.join(others)}" if others else ""),
            f"make one: {form}",
        )
    sums = [meter for meter in same_type if meter.aggregation == "sum" and meter.value == "$.tokens"]
    if not sums:
        found = ", ".join(f"{meter.key} is {meter.aggregation} of {meter.value or 'events'}" for meter in same_type)
        return wrong("meters", f"no meter sums the tokens: {found}", f"make one: {form}")
    names = ", ".join(meter.key for meter in sums)
    if not any("$.type" in meter.dimensions.values() for meter in sums):
        return warning(
            "meters",
            f"{names}: no dimension reads `$.type`, so that input and output tokens cannot have prices of their own",
            "add the dimension `type` with the path `$.type`",
        )
    return ok("meters", f"{names} sums the tokens of `{event_type}`")


def check_region(settings: Settings, meters: Meters, ask: MetersOf) -> Finding:
    """A region without the account's meters takes events all the same, and nobody is billed: so the others are asked
    whether the meters are there."""
    region = settings.konnect_region
    if isinstance(meters, list) and _counting(meters, settings):
        return ok("region", f"{region}: its meters count these events")
    others = [other for other in REGIONS if other != region]
    with ThreadPoolExecutor(max_workers=len(others)) as pool:
        answers = dict(zip(others, pool.map(lambda other: ask(region_url(other)), others), strict=True))
    better = [other for other, found in answers.items() if isinstance(found, list) and _counting(found, settings)]
    if better:
        return wrong(
            "region",
            f"{region} has no meter for these events, {', '.join(better)} has",
            f"set KONNECT_REGION={better[0]}",
        )
    if not isinstance(meters, list):
        return warning(
            "region",
            f"it cannot be told whether {region} is right: the token may not list meters",
            "look at the address of your Konnect: cloud.konghq.com/<region>; or run this with a token that may view "
            "metering",
        )
    return warning(
        "region", "no region has a meter for these events, as far as this token sees", "make the meter first"
    )


def check_clock(probe: Probe) -> Finding:
    """The service's clock against ours; it tells whole seconds."""
    try:
        theirs_s = parsedate_to_datetime(probe.date).timestamp()
    except ValueError:
        return warning("clock", "the service's Date header cannot be read", "compare the clocks yourself")
    ours_s = (probe.sent_ns + probe.answered_ns) / 2e9
    apart_s = abs(ours_s - theirs_s - 0.5)
    if apart_s < CLOCK_WARNING_S:
        return ok("clock", "agrees with the service's")
    said = f"{apart_s:,.0f} s {'ahead of' if ours_s > theirs_s else 'behind'} the service's"
    todo = "set this machine's clock (NTP): an event counts in the period that its time names"
    return wrong("clock", said, todo) if apart_s >= CLOCK_WRONG_S else warning("clock", said, todo)


def _counting(meters: Sequence[Meter], settings: Settings) -> bool:
    return any(
        meter.event_type == settings.event_type and meter.aggregation == "sum" and meter.value == "$.tokens"
        for meter in meters
    )


def _asking(settings: Settings) -> MetersOf:
    def ask(events_url: str) -> Meters:
        url = meters_url(events_url)
        if url is None:
            return Halted(status=None, detail="this endpoint has no list of meters that is known", hint="")
        with ServiceReader(clock=SystemClock(), token=token_source(settings), timeout_s=TIMEOUT_S) as reader:
            return read_meters(reader, url)

    return ask


def _judge_probe(url: str, probe: Probe) -> Finding:
    match probe.reply:
        case Taken():
            return ok("token", f"{url} takes events")
        case Halted(hint=hint):
            return wrong("token", words_of(probe.reply), hint)
        case Refused():
            return warning("token", f"an empty batch was refused: {words_of(probe.reply)}", "watch `spanmeter status`")
        case Retry():
            return wrong(
                "token", f"no answer that counts: {words_of(probe.reply)}", "events wait on disk until it is back"
            )


def _check_reach(url: str) -> Finding:
    """Name and connection; TLS is a part of the request that follows."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy = urllib.request.getproxies().get(parts.scheme) or urllib.request.getproxies().get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        return ok("network", f"{host} is reached through a proxy")
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        # The resolver has no timeout of its own; its thread is left behind if need be.
        found = pool.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM).result(TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return wrong(
            "network", f"DNS: {host}: {error or 'no answer in time'}", "check the name, the network, the resolver"
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    begun_s = time.monotonic()
    trouble: object = "no address"
    for family, kind, protocol, _, address in found[:4]:
        try:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(TIMEOUT_S / 2)
                connection.connect(address)
            return ok("network", f"{host}:{port} answers in {(time.monotonic() - begun_s) * 1000:.0f} ms")
        except OSError as error:
            trouble = error
    return wrong("network", f"{host}:{port}: {trouble}", "a firewall, a proxy (HTTPS_PROXY), or the wrong address?")
