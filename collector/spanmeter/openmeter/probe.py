"""A request that brings nothing: does the service take events from here?"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from spanmeter.openmeter.answer import judge
from spanmeter.openmeter.client import CONTENT_TYPE
from spanmeter.openmeter.exchange import Answered, Exchange
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry

_BODY_BYTES = 65_536


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

    with Exchange(token=token, timeout_s=timeout_s, transport=transport) as exchange:
        answer = exchange.post(url, b"[]", content_type=CONTENT_TYPE, most_bytes=_BODY_BYTES)
    if not isinstance(answer, Answered):
        return came(answer)
    reply = judge(answer.status, answer.headers, body=answer.body, now_ns=now_ns())
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
