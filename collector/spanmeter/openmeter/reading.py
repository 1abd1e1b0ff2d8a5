"""GET requests to the service, of which nothing changes there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from spanmeter.clock import Clock
from spanmeter.openmeter.answer import judge
from spanmeter.openmeter.exchange import Answered, Closing, Exchange
from spanmeter.openmeter.reply import Halted, Refused, Retry, Taken

# A hundred events of the largest size that is worth reading.
_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A 2xx answer. `date` is the service's own clock as its header has it, "" where there is none."""

    body: bytes
    date: str = ""


Answer = Got | Retry | Refused | Halted


class ServiceReader(Closing):
    """Reads from the service. `token`, `timeout_s`: see `Exchange`."""

    def __init__(
        self,
        *,
        clock: Clock,
        token: Callable[[], str] | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self._exchange = Exchange(token=token, timeout_s=timeout_s, transport=transport)

    def close(self) -> None:
        """Closes the connections. Idempotent; no `get` may follow."""
        self._exchange.close()

    def get(self, url: str, parameters: Mapping[str, str]) -> Answer:
        """Whatever network or service do comes back as an Answer, never raised."""
        answer = self._exchange.get(url, parameters, most_bytes=_BODY_BYTES)
        if not isinstance(answer, Answered):
            return answer
        if answer.broken:
            return Retry(reason=answer.broken)
        reply = judge(answer.status, answer.headers, body=answer.body, now_ns=self._clock.now_ns())
        return Got(body=answer.body, date=answer.headers.get("date", "")) if isinstance(reply, Taken) else reply
