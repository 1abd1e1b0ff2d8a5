import gc
import logging
import ssl
import weakref
from collections.abc import Callable

import httpx
import pytest
from opentelemetry import context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from spanmeter import __version__
from spanmeter.errors import SettingsError
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken
from spanmeter.testing.clock import ManualClock

URL = "https://us.api.konghq.com/v3/openmeter/events"
SECRET = "kpat_verysecret"  # a made-up one
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, token: Callable[[], str] | None = lambda: SECRET) -> EventsClient:
    return EventsClient(URL, clock=ManualClock(), token=token, transport=httpx.MockTransport(handler))


def send(handler: Handler, token: Callable[[], str] | None = lambda: SECRET) -> Reply:
    with client(handler, token) as events:
        return events.send([b'{"id":"1"}', b'{"id":"2"}'])


def raising(error: Exception) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error

    return handle


def test_the_request() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202)

    assert send(handle) == Taken()
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.content == b'[{"id":"1"},{"id":"2"}]'
    assert request.headers["content-type"] == "application/cloudevents-batch+json"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == f"spanmeter/{__version__}"


def test_no_token_no_authorization() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(204)

    assert send(handle, None) == Taken()


def test_the_token_is_asked_for_each_time() -> None:
    tokens = iter(["one\n", "two"])
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(202)

    with client(handle, lambda: next(tokens)) as events:
        events.send([b"{}"])
        events.send([b"{}"])
    assert seen == ["Bearer one", "Bearer two"]


def test_nothing_to_send_is_not_sent() -> None:
    with client(raising(AssertionError("sent"))) as events:
        assert events.send([]) == Taken()


@pytest.mark.parametrize("token", ["", "  ", "kpat_verysecret\nx: y", "kpat_verysecret x", "kpat_verysecrét"])
def test_a_broken_token_halts_and_is_not_repeated(token: str) -> None:
    reply = send(raising(AssertionError("sent")), lambda: token)
    assert isinstance(reply, Halted)
    assert "secret" not in repr(reply)


@pytest.mark.parametrize("error", [FileNotFoundError("/run/token"), SettingsError(["x"]), ValueError("bad utf-8")])
def test_a_token_that_cannot_be_read_halts(error: Exception) -> None:
    def read() -> str:
        raise error

    reply = send(raising(AssertionError("sent")), read)
    assert isinstance(reply, Halted)
    assert "KONNECT_TOKEN_FILE" in reply.hint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectTimeout("slow"), "no connection in time"),
        (httpx.PoolTimeout("busy"), "no connection in time"),
        (httpx.ReadTimeout(""), "no answer in time: ReadTimeout"),
        (httpx.WriteTimeout("slow"), "no answer in time"),
        (httpx.ConnectError("[Errno 111] Connection refused"), "cannot connect: [Errno 111]"),
        (httpx.ReadError("reset"), "the connection broke: reset"),
        (httpx.RemoteProtocolError("illegal status line"), "the connection broke"),
        (httpx.ProxyError("502"), "the connection broke"),
        (ConnectionResetError("reset"), "the connection broke"),
    ],
)
def test_a_broken_connection_is_tried_again(error: Exception, words: str) -> None:
    reply = send(raising(error))
    assert isinstance(reply, Retry)
    assert words in reply.reason
    assert reply.after_s is None


def test_an_unverified_certificate_halts() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLError as error:
            raise httpx.ConnectError("self-signed certificate") from error

    reply = send(handle)
    assert isinstance(reply, Halted)
    assert reply.status is None
    assert "certificate" in reply.hint


def test_an_address_that_no_host_can_have_halts() -> None:
    with EventsClient("https://xn--\u00df\u200d.example/x", clock=ManualClock()) as events:
        assert isinstance(events.send([b"{}"]), Halted)


def test_redirects_are_not_followed() -> None:
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(307, headers={"location": "https://elsewhere.example/"})

    reply = send(handle)
    assert isinstance(reply, Halted)
    assert "elsewhere.example" in reply.detail
    assert len(seen) == 1


def test_a_broken_error_body_does_not_change_the_verdict() -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b'{"detail": "half'
            raise httpx.ReadError("reset")

    assert send(lambda request: httpx.Response(202, stream=Broken())) == Taken()
    reply = send(lambda request: httpx.Response(400, stream=Broken()))
    assert isinstance(reply, Refused)


def test_an_endless_body_is_cut() -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield b"x" * 4096

    reply = send(lambda request: httpx.Response(500, stream=Endless()))
    assert isinstance(reply, Retry)


def test_the_host_process_does_not_trace_it() -> None:
    enabled = []

    def handle(request: httpx.Request) -> httpx.Response:
        enabled.append(is_instrumentation_enabled())
        return httpx.Response(202)

    before = context.get_current()
    send(handle)
    assert enabled == [False]
    assert context.get_current() == before
    assert is_instrumentation_enabled()


def test_the_token_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = httpx.Response(401, json={"detail": f"token {SECRET} is unknown"})
    replies = [
        send(lambda request: echo),
        send(lambda request: httpx.Response(302, headers={"location": f"https://x/?t={SECRET}"})),
        send(lambda request: httpx.Response(400, text=SECRET)),
        send(raising(httpx.LocalProtocolError(f"Illegal header value b'Bearer {SECRET}'"))),
    ]
    with client(lambda request: httpx.Response(202)) as events:
        assert SECRET not in repr(events)
    assert SECRET not in repr(replies)
    assert SECRET not in caplog.text


def test_nothing_that_was_sent_is_held_once_it_was_answered() -> None:
    sent: list[weakref.ref[httpx.Request]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(weakref.ref(request))
        return httpx.Response(204, content=b"taken")

    gc.disable()  # what is left must go without a look for cycles: batches are large, and such looks rare
    try:
        assert send(handle) == Taken()
        assert [request() for request in sent] == [None]
    finally:
        gc.enable()
