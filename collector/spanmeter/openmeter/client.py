"""Sends encoded events and says what became of them."""

from collections.abc import Callable, Sequence

import httpx

from spanmeter.clock import Clock
from spanmeter.openmeter.answer import judge
from spanmeter.openmeter.exchange import Answered, Closing, Exchange
from spanmeter.openmeter.reply import Reply, Taken

# Bare: v1 compares it exactly, and with application/json the service does not name the bad events.
CONTENT_TYPE = "application/cloudevents-batch+json"
# More of an error body than this says nothing that an operator would read.
_BODY_BYTES = 65_536


class EventsClient(Closing):
    """An events endpoint. `send` may be called from any thread, by at most `connections` at a time without waiting.

    `token`, `timeout_s`: see `Exchange`.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        token: Callable[[], str] | None = None,
        timeout_s: float = 10.0,
        connections: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._exchange = Exchange(token=token, timeout_s=timeout_s, connections=connections, transport=transport)

    def __repr__(self) -> str:
        return f"EventsClient({self._url!r})"

    def close(self) -> None:
        """Closes the connections. Idempotent; no `send` may follow."""
        self._exchange.close()

    def send(self, bodies: Sequence[bytes], *, timeout_s: float | None = None) -> Reply:
        """Sends encoded CloudEvents as one batch. Whatever network or service do comes back as a Reply, never raised.

        `timeout_s` shortens the client's own timeout, for the last moments before a stop. No events: Taken, unsent.
        """
        if not bodies:
            return Taken()
        answer = self._exchange.post(
            self._url,
            b"[" + b",".join(bodies) + b"]",
            content_type=CONTENT_TYPE,
            most_bytes=_BODY_BYTES,
            timeout_s=timeout_s,
        )
        if not isinstance(answer, Answered):
            return answer
        # A status that has been read decides, though its words may be cut short.
        return judge(answer.status, answer.headers, body=answer.body, now_ns=self._clock.now_ns())
