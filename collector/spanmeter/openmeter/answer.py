"""From an HTTP answer to a Reply: the one place that knows what a status means.

| status | reply |
|---|---|
| 2xx | Taken; Halted where the body is a web page (a console or a portal answers 200 to everything) |
| 408, 425, 429, 5xx, anything that is no HTTP status | Retry |
| 3xx, 401, 402, 403, 404, 405, 407, 415, 421, 451 | Halted: the address, the token or the account, never an event |
| 400, 413, 422 and all other 4xx | Refused |

Error bodies are `application/problem+json`. v3 names each bad field in `invalid_parameters` and begins the name with
the event's index (`1.subject`); v1 has the fields `detail` and `extensions.validationErrors`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken

RETRY_AFTER_CAP_S = 3600.0
_DETAIL_CHARS = 500
_NAMED_FIELDS = 5
_INDEX = re.compile(r"[\[/]?([0-9]{1,6})(?:[.\]/\[]|$)")
_WEB_PAGE = re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE)

WRONG_ADDRESS = (
    "check KONNECT_REGION or SPANMETER_ENDPOINT: the full URL of an events endpoint is needed, "
    "such as https://us.api.konghq.com/v3/openmeter/events"
)
_HINTS = {
    401: "the token is wrong, expired or of another region: renew KONNECT_TOKEN or KONNECT_TOKEN_FILE",
    402: "the account has no active Metering & Billing: see to its subscription",
    403: "the token's role lacks Ingest for Metering & Billing in this region: give its system account that role",
    404: WRONG_ADDRESS,
    405: WRONG_ADDRESS,
    407: "a proxy asks for credentials: see HTTPS_PROXY",
    415: WRONG_ADDRESS,
    421: WRONG_ADDRESS,
    451: "the service refuses this account or place for legal reasons: ask its operator",
}


def judge(status: int, headers: Mapping[str, str], *, body: bytes, now_ns: int) -> Reply:
    """The Reply that an answer means. `headers` has lower-case names or ignores case; `now_ns` dates a Retry-After."""
    if 200 <= status < 300:
        if _WEB_PAGE.match(body):
            return Halted(status=status, detail="the answer is a web page", hint=WRONG_ADDRESS)
        return Taken()
    words = detail_of(body) or "no words"
    if status in (408, 425, 429) or not 300 <= status < 500:
        return Retry(reason=f"HTTP {status}: {words}", after_s=retry_after_s(headers.get("retry-after"), now_ns=now_ns))
    if status < 400:
        return Halted(
            status=status, detail=fold(f"redirect to {headers.get('location', 'nowhere')}"), hint=WRONG_ADDRESS
        )
    if hint := _HINTS.get(status):
        return Halted(status=status, detail=words, hint=hint)
    return Refused(status=status, detail=words, bad=_bad_indexes(body))


def retry_after_s(value: str | None, *, now_ns: int) -> float | None:
    """Seconds that a Retry-After header asks for, 0 to 3600; None where there is none or it cannot be read.

    RFC 9110, 10.2.3: whole seconds or an HTTP date.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), RETRY_AFTER_CAP_S)
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        wait_s = (when - datetime.fromtimestamp(now_ns / 1e9, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_CAP_S)


def fold(text: str) -> str:
    """One line of at most 500 printable characters: fit for a log, a table and a terminal."""
    line = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(line.split())
    return line if len(line) <= _DETAIL_CHARS else line[: _DETAIL_CHARS - 1] + "…"


def detail_of(body: bytes) -> str:
    """The service's own words in an error body, "" where it has none."""
    problem = _problem(body)
    if problem is None:
        return fold(body[: 8 * _DETAIL_CHARS].decode("utf-8", "replace"))
    words = next((str(problem[key]) for key in ("detail", "title", "message") if problem.get(key)), "")
    for field, reason in list(_named(problem))[:_NAMED_FIELDS]:
        if reason not in words:
            words += f"; {field}: {reason}" if words else f"{field}: {reason}"
    return fold(words)


def _bad_indexes(body: bytes) -> tuple[int, ...]:
    problem = _problem(body)
    if problem is None:
        return ()
    found = (_INDEX.match(field) for field, _ in _named(problem))
    return tuple(sorted({int(match[1]) for match in found if match}))


def _problem(body: bytes) -> dict[str, object] | None:
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return problem if isinstance(problem, dict) else None


def _named(problem: dict[str, object]) -> Iterator[tuple[str, str]]:
    """(field, reason) of each complaint, in the shape of v3 or of v1."""
    extensions = problem.get("extensions")
    of_v1 = extensions.get("validationErrors") if isinstance(extensions, dict) else None
    for complaints, name, why in ((problem.get("invalid_parameters"), "field", "reason"), (of_v1, "code", "message")):
        if not isinstance(complaints, list):
            continue
        for complaint in complaints:
            if isinstance(complaint, dict):
                yield str(complaint.get(name) or ""), str(complaint.get(why) or "")
