"""One request to the service and what came back: the one place that sets HTTP up."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from spanmeter import __version__
from spanmeter.errors import SpanmeterError
from spanmeter.openmeter.answer import WRONG_ADDRESS, fold
from spanmeter.openmeter.deadline import Deadline
from spanmeter.openmeter.reply import Halted, Retry

_NO_STREAM = httpx.ByteStream(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An HTTP answer, whatever its status. The names of `headers` are in lower case; neither they nor the body of an
    error hold the token. `broken` says why `body` is not all of the answer's, "" where it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: str = ""


class Closing:
    """Closed at the end of a `with` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Exchange(Closing):
    """Requests to the service, over connections that are kept, from any thread.

    `token` is asked for each request, so that a rotated file is read again; None sends no Authorization. `timeout_s`
    bounds a request as a whole, but for the look-up of the host's name, which the system bounds. Redirects are not
    followed: a token goes nowhere but to the address asked for. TLS is verified. Proxies and CA files come from the
    environment, as everywhere in httpx. OpenTelemetry does not trace these requests.
    """

    def __init__(
        self,
        *,
        token: Callable[[], str] | None,
        timeout_s: float,
        connections: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._token = token
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            transport=transport,
            follow_redirects=False,
            headers={
                "user-agent": f"spanmeter/{__version__}",
                "accept": "application/json, application/problem+json",
                "accept-encoding": "identity",
            },
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0
            ),
        )
        self._deadline = Deadline()
        self._deadline.keep(self._http)

    def close(self) -> None:
        """Closes the connections. Idempotent; nothing may be asked after it."""
        self._http.close()

    def post(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str,
        most_bytes: int,
        timeout_s: float | None = None,
    ) -> Answered | Retry | Halted:
        """`timeout_s` shortens the time; of the answer's body at most `most_bytes` are read. Never raises."""
        headers = {"content-type": content_type}
        return self._ask("POST", url, headers=headers, content=body, most_bytes=most_bytes, timeout_s=timeout_s)

    def get(self, url: str, parameters: Mapping[str, str], *, most_bytes: int) -> Answered | Retry | Halted:
        """Never raises."""
        return self._ask("GET", url, headers={}, parameters=parameters, most_bytes=most_bytes)

    def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        most_bytes: int,
        parameters: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Answered | Retry | Halted:
        token = read_token(self._token)
        if isinstance(token, Halted):
            return token
        if token:
            headers["authorization"] = f"Bearer {token}"
        limit_s = self._timeout_s if timeout_s is None else max(0.001, min(timeout_s, self._timeout_s))
        try:
            with (
                _untraced(),
                self._deadline.within(limit_s),
                _let_go_of(
                    self._http.stream(
                        method,
                        url,
                        params=None if parameters is None else dict(parameters),
                        headers=headers,
                        content=content,
                        timeout=limit_s,
                    )
                ) as response,
            ):
                body, broken = _read(response, most_bytes)
                return Answered(
                    status=response.status_code,
                    headers={name: without(value, token) for name, value in response.headers.items()},
                    body=body if response.is_success else without(body.decode("utf-8", "replace"), token).encode(),
                    broken=broken,
                )
        except httpx.InvalidURL as error:
            return Halted(status=None, detail=fold(str(error)), hint=WRONG_ADDRESS)
        except (httpx.HTTPError, OSError) as error:
            return _transport_failure(error, token)


@contextmanager
def _let_go_of(exchange: AbstractContextManager[httpx.Response]) -> Iterator[httpx.Response]:
    """httpx's response and its stream hold each other, and with them the request and all that was sent, until Python
    looks for such cycles: that may be hundreds of batches later."""
    response = None
    try:
        with exchange as response:
            yield response
    finally:
        if response is not None:
            response.stream = _NO_STREAM


def _read(response: httpx.Response, most_bytes: int) -> tuple[bytes, str]:
    """What came of the body, and why it is not all."""
    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most_bytes:
                return bytes(body[:most_bytes]), "the answer is longer than anything that was asked for"
    except httpx.TimeoutException:
        return bytes(body), "no whole answer in time"
    except httpx.HTTPError as error:
        return bytes(body), f"the answer broke off ({type(error).__name__})"
    return bytes(body), ""


def _untraced() -> AbstractContextManager[None]:
    from opentelemetry.instrumentation.utils import suppress_instrumentation  # noqa: PLC0415 - costs 50 ms

    return suppress_instrumentation()


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


def _transport_failure(error: Exception, token: str) -> Retry | Halted:
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
