"""A service, or what is before it, that answers slowly, by halves, in disguise or from elsewhere; over real sockets."""

import gzip
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanmeter.clock import SystemClock
from spanmeter.openmeter.client import EventsClient
from spanmeter.openmeter.reading import ServiceReader
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken

TOKEN = "spat_forthistestonly"
TIMEOUT_S = 0.5
PROBLEM = b'{"detail":"subject is missing"}'


class Peer:
    """Answers each connection with `pieces`, `pause_s` between them, `again` and again the last; keeps what it read."""

    def __init__(self, *pieces: bytes, pause_s: float = 0.0, again: bool = False) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._again = again
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.read = b""
        self.connections = 0

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.connections += 1
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(2.0)
        try:
            self.read += _request(connection)
            for piece in self._pieces:
                connection.sendall(piece)
                self._stop.wait(self._pause_s)
            while self._again and not self._stop.is_set():
                connection.sendall(self._pieces[-1])
                self._stop.wait(self._pause_s)
        except OSError:
            return  # the client has gone

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.close()
        # accept() in another thread is not ended by close(): one last connection ends it.
        self._thread.join(0.01)


def _request(connection: socket.socket) -> bytes:
    """All of a request, also where it comes in parts: a socket that is closed with bytes unread resets its peer, which
    may then not see the answer. Of what is no HTTP, the first part."""
    data = connection.recv(65_536)
    while data.startswith((b"GET ", b"POST ")):
        first, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", first, re.IGNORECASE)
        if end and len(body) >= (int(length[1]) if length else 0):
            break
        part = connection.recv(65_536)
        if not part:
            break
        data += part
    return data


def send(url: str) -> tuple[Reply, float]:
    with EventsClient(url, clock=SystemClock(), token=lambda: TOKEN, timeout_s=TIMEOUT_S) as client:
        begun_s = time.monotonic()
        return client.send([b'{"id":"1"}']), time.monotonic() - begun_s


def answered(peer: Peer) -> Reply:
    with peer:
        reply, seconds = send(f"http://127.0.0.1:{peer.port}/events")
    assert seconds < TIMEOUT_S + 1.0
    return reply


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def test_headers_that_never_end_are_given_up_in_time() -> None:
    for first in (b"HTTP/1.1 202 Accepted\r\nx: ", b"H"):
        reply = answered(Peer(first, b"a", pause_s=0.05, again=True))
        assert isinstance(reply, Retry)
        assert "no answer in time" in reply.reason


def test_a_body_that_never_ends_changes_no_verdict() -> None:
    for status, kind in (("202 Accepted", Taken), ("503 Busy", Retry), ("400 Bad Request", Refused)):
        peer = Peer(head(status, "content-length: 100000"), b"a", pause_s=0.05, again=True)
        assert isinstance(answered(peer), kind)


def test_a_listing_that_never_ends_is_asked_for_again() -> None:
    with Peer(head("200 OK", "content-length: 100000"), b"[", pause_s=0.05, again=True) as peer:
        begun_s = time.monotonic()
        with ServiceReader(clock=SystemClock(), timeout_s=TIMEOUT_S) as reader:
            answer = reader.get(f"http://127.0.0.1:{peer.port}/events", {})
        assert time.monotonic() - begun_s < TIMEOUT_S + 1.0
    assert answer == Retry(reason="no whole answer in time")


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((head("202 Accepted", "content-length: 2"), b"{}"), Taken),
        ((head("207 Multi-Status", "content-length: 2"), b"[]"), Taken),
        ((head("204 No Content"),), Taken),
        ((head("100 Continue"), head("103 Early Hints"), head("202 Accepted", "content-length: 0")), Taken),
        ((head("202 Accepted", "content-length: 900"), b"{"), Taken),
        ((head("202 Accepted", "transfer-encoding: chunked"), b"zz\r\n"), Taken),
        ((head("202 Accepted", "content-encoding: gzip", "content-length: 4"), b"oops"), Taken),
        ((head("500 No", "content-length: 900"), b"{"), Retry),
        ((head("413 Too Large", "connection: close"),), Refused),
        ((b"",), Retry),
        ((b"HTTP/1.1 20",), Retry),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), Retry),
        ((b"\x00" * 70_000,), Retry),
        ((head("202 Accepted", "x: " + "y" * 300_000),), Retry),
    ],
)
def test_partial_strange_and_garbled_answers(pieces: tuple[bytes, ...], kind: type[Reply]) -> None:
    assert isinstance(answered(Peer(*pieces)), kind)


@pytest.mark.parametrize("body", [gzip.compress(PROBLEM), gzip.compress(PROBLEM)[:-12]])
def test_a_packed_refusal_is_a_refusal(body: bytes) -> None:
    peer = Peer(head("400 Bad Request", "content-encoding: gzip", f"content-length: {len(body)}"), body)
    assert isinstance(reply := answered(peer), Refused)
    assert reply.status == 400


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_the_token_never_follows_a_redirect(status: str) -> None:
    with Peer(head("202 Accepted", "content-length: 0")) as elsewhere:
        reply = answered(Peer(head(status, f"location: http://127.0.0.1:{elsewhere.port}/", "content-length: 0")))
        assert isinstance(reply, Halted)
        assert "redirect" in reply.detail
        assert elsewhere.connections == 0


def test_a_port_without_tls_is_given_a_greeting_and_no_token() -> None:
    with Peer(head("202 Accepted", "content-length: 0")) as peer:
        reply, _ = send(f"https://127.0.0.1:{peer.port}/events")
        assert isinstance(reply, Retry | Halted)
        assert peer.read[:2] == b"\x16\x03"  # TLS handshake
        assert TOKEN.encode() not in peer.read


@contextmanager
def tls_peer(folder: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS server whose certificate nobody vouches for: its port, and what it could read."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "cert")),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5.0)
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        read.append(secured.recv(65_536))
                except OSError:
                    read.append(b"")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], read
        thread.join(5.0)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_halts_and_sees_no_token(tmp_path: Path) -> None:
    with tls_peer(tmp_path) as (port, read):
        reply, _ = send(f"https://localhost:{port}/events")
    assert isinstance(reply, Halted)
    assert "certificate" in reply.hint
    assert TOKEN.encode() not in b"".join(read)


def test_a_name_that_nobody_knows_is_tried_again() -> None:
    reply, _ = send("https://spanmeter-has-no-such-host.invalid/events")
    assert isinstance(reply, Retry)
    assert "cannot connect" in reply.reason
