"""Sends encoded events over one kept connection and says what became of them."""

import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx

from spanmeter import __version__
from spanmeter.clock import Clock
from spanmeter.errors import SpanmeterError
from spanmeter.openmeter.answer import WRONG_ADDRESS, fold, judge
from spanmeter.openmeter.reply import Halted, Reply, Retry, Taken

# Bare: v1 compares it exactly, and with application/json the service does not name the bad events.
CONTENT_TYPE = "application/cloudevents-batch+json"
# More of an error body than this says nothing that an operator would read.
_BODY_BYTES = 65_536


class EventsClient:
    """An events endpoint. `send` may be called from any thread; connections are kept between calls.

    `token` is asked for each request, so that a rotated file is read again; None sends no Authorization. `timeout_s`
    bounds each of connecting, writing and waiting for bytes. Redirects are not followed: a token goes nowhere but to
    `url`. TLS is verified. Proxies and CA files come from the environment, as everywhere in httpx.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        token: Callable[[], str] | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._token = token
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            transport=transport,
            follow_redirects=False,
            headers={
                "user-agent": f"spanmeter/{__version__}",
                "content-type": CONTENT_TYPE,
                "accept": "application/problem+json, application/json",
                "accept-encoding": "identity",
            },
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=30.0),
        )

    def __repr__(self) -> str:
        return f"EventsClient({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Idempotent; no `send` may follow."""
        self._http.close()

    def send(self, bodies: Sequence[bytes], *, timeout_s: float | None = None) -> Reply:
        """Sends encoded CloudEvents as one batch. Whatever network or service do comes back as a Reply, never raised.

        `timeout_s` shortens the client's own timeout, for the last moments before a stop. No events: Taken, unsent.
        """
        if not bodies:
            return Taken()
        token = read_token(self._token)
        if isinstance(token, Halted):
            return token
        limit_s = self._timeout_s if timeout_s is None else max(0.001, min(timeout_s, self._timeout_s))
        # Costs 50 ms and is wanted only where something is sent.
        from opentelemetry.instrumentation.utils import suppress_instrumentation  # noqa: PLC0415

        try:
            with suppress_instrumentation():
                return self._post(b"[" + b",".join(bodies) + b"]", token, limit_s)
        except httpx.InvalidURL as error:
            return Halted(status=None, detail=fold(str(error)), hint=WRONG_ADDRESS)
        except (httpx.HTTPError, OSError) as error:
            return transport_failure(error, token)

    def _post(self, body: bytes, token: str, limit_s: float) -> Reply:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        until = self._clock.monotonic() + limit_s
        with self._http.stream("POST", self._url, content=body, headers=headers, timeout=limit_s) as response:
            words = bytearray()
            try:
                for chunk in response.iter_bytes():
                    words += chunk
                    if len(words) > _BODY_BYTES or self._clock.monotonic() > until:
                        break
            except httpx.HTTPError:
                # The status has been read and decides; its words may be cut short.
                pass
            return judge(
                response.status_code,
                {name: without(value, token) for name, value in response.headers.items()},
                body=without(bytes(words).decode("utf-8", "replace"), token).encode(),
                now_ns=self._clock.now_ns(),
            )


def read_token(source: Callable[[], str] | None) -> str | Halted:
    """The token to send, "" where there is none; Halted where it cannot be had or would spoil a header."""
    if source is None:
        return ""
    try:
        token = source().strip()
    except (OSError, ValueError, SpanmeterError) as error:
        return _no_token(f"the token cannot be read ({type(error).__name__})")
    # Anything else in a header would be quoted in the HTTP library's complaint.
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        return _no_token("the token is empty or holds characters that no token has")
    return token


def _no_token(detail: str) -> Halted:
    return Halted(status=None, detail=detail, hint="check KONNECT_TOKEN or the file that KONNECT_TOKEN_FILE names")


def without(text: str, token: str) -> str:
    """The text with the token masked."""
    return text.replace(token, "[token]") if token else text


def transport_failure(error: Exception, token: str) -> Retry | Halted:
    """What an exception of the HTTP library means, in its own words and without the token."""
    words = fold(without(str(error), token)) or type(error).__name__
    if _is_verification(error):
        return Halted(
            status=None,
            detail=words,
            hint="TLS: the certificate was not verified: wrong host, a proxy that breaks TLS, or a private CA "
            "(name its file in SSL_CERT_FILE)",
        )
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            reason = "no connection in time"
        case httpx.TimeoutException():
            reason = "no answer in time"
        case httpx.ConnectError():
            reason = "cannot connect"
        case _:
            reason = "the connection broke"
    return Retry(reason=f"{reason}: {words}")


def _is_verification(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
