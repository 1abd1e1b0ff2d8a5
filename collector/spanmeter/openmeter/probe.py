"""A request that brings nothing: does the service take events from here?"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from spanmeter import __version__
from spanmeter.openmeter.answer import WRONG_ADDRESS, fold, judge
from spanmeter.openmeter.client import CONTENT_TYPE, read_token, transport_failure, without
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What became of an empty batch. `date` is the answer's Date header, "" where there was no answer; `sent_ns` and
    `answered_ns` are our own clock before and after."""

    reply: Reply
    date: str
    sent_ns: int
    answered_ns: int


def probe_events(
    url: str,
    *,
    token: Callable[[], str] | None,
    now_ns: Callable[[], int] = time.time_ns,
    timeout_s: float = 10.0,
    transport: httpx.BaseTransport | None = None,
) -> Probe:
    """POST `[]`, which a service takes as a batch without events. Never raises."""
    sent_ns = now_ns()

    def came(reply: Reply, date: str = "") -> Probe:
        return Probe(reply=reply, date=date, sent_ns=sent_ns, answered_ns=now_ns())

    value = read_token(token)
    if isinstance(value, Halted):
        return came(value)
    headers = {"content-type": CONTENT_TYPE, "user-agent": f"spanmeter/{__version__}"}
    try:
        with httpx.Client(transport=transport, timeout=timeout_s, follow_redirects=False) as client:
            answer = client.post(
                url, content=b"[]", headers=headers | ({"authorization": f"Bearer {value}"} if value else {})
            )
    except httpx.InvalidURL as error:
        return came(Halted(status=None, detail=fold(str(error)), hint=WRONG_ADDRESS))
    except (httpx.HTTPError, OSError) as error:
        return came(transport_failure(error, value))
    reply = judge(
        answer.status_code,
        {name: without(text, value) for name, text in answer.headers.items()},
        body=without(answer.text[:65_536], value).encode(),
        now_ns=now_ns(),
    )
    return came(reply, answer.headers.get("date", ""))


def words_of(reply: Reply) -> str:
    """The reply in one line."""
    match reply:
        case Retry():
            return reply.reason
        case Halted() | Refused():
            return f"HTTP {reply.status}: {reply.detail}" if reply.status else reply.detail
        case _:
            return "taken"
