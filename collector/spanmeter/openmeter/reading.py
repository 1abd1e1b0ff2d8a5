"""GET requests to the service, of which nothing changes there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from spanmeter import __version__
from spanmeter.clock import Clock
from spanmeter.openmeter.answer import WRONG_ADDRESS, fold, judge
from spanmeter.openmeter.client import read_token, transport_failure, without
from spanmeter.openmeter.reply import Halted, Refused, Retry, Taken

# A hundred events of the largest size that is worth reading.
_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A 2xx answer. `date` is the service's own clock as its header has it, "" where there is none."""

    body: bytes
    date: str = ""


Answer = Got | Retry | Refused | Halted


class ServiceReader:
    """Reads from the service. Not for several threads. As `EventsClient` about token, redirects, TLS and proxies.

    `timeout_s` bounds a request as a whole.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        token: Callable[[], str] | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self._token = token
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            transport=transport,
            follow_redirects=False,
            headers={"user-agent": f"spanmeter/{__version__}", "accept": "application/json, application/problem+json"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Idempotent; no `get` may follow."""
        self._http.close()

    def get(self, url: str, parameters: Mapping[str, str]) -> Answer:
        """Whatever network or service do comes back as an Answer, never raised."""
        token = read_token(self._token)
        if isinstance(token, Halted):
            return token
        from opentelemetry.instrumentation.utils import suppress_instrumentation  # noqa: PLC0415 - costs 50 ms

        try:
            with suppress_instrumentation():
                return self._get(url, parameters, token)
        except httpx.InvalidURL as error:
            return Halted(status=None, detail=fold(str(error)), hint=WRONG_ADDRESS)
        except (httpx.HTTPError, OSError) as error:
            return transport_failure(error, token)

    def _get(self, url: str, parameters: Mapping[str, str], token: str) -> Answer:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        until_s = self._clock.monotonic() + self._timeout_s
        body = bytearray()
        with self._http.stream(
            "GET", url, params=dict(parameters), headers=headers, timeout=self._timeout_s
        ) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _BODY_BYTES:
                    return Retry(reason="the answer is longer than anything that was asked for")
                if self._clock.monotonic() > until_s:
                    return Retry(reason="no whole answer in time")
            reply = judge(
                response.status_code,
                {name: without(value, token) for name, value in response.headers.items()},
                body=bytes(body)
                if response.is_success
                else without(bytes(body).decode("utf-8", "replace"), token).encode(),
                now_ns=self._clock.now_ns(),
            )
            return Got(body=bytes(body), date=response.headers.get("date", "")) if isinstance(reply, Taken) else reply
