"""Both servers in this process, with each of the event loops and HTTP parsers that they may have."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import grpc
import httpx
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from spanmeter.pipeline.intake import Intake
from spanmeter.receiver import http, loop
from spanmeter.receiver.grpc import SERVICE, GrpcReceiver
from spanmeter.receiver.http import HttpReceiver
from spanmeter.receiver.loop import SMALL_BYTES
from spanmeter.receiver.parser import MOST_HEAD_BYTES
from spanmeter.receiver.reception import Reception
from spanmeter.settings import ListenAddress
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.recognition import Recogniser
from tests.acceptance.requests import PROTOBUF, call_request, new_response_id
from tests.unit.store.books import MemoryBooks, disk_full

WAIT_S = 10.0
ANYWHERE = ListenAddress(host="127.0.0.1", port=0)
BODY = call_request(new_response_id()).SerializeToString()


def large_body() -> bytes:
    request = call_request(new_response_id())
    request.resource_spans[0].scope_spans[0].spans[0].name = "x" * (SMALL_BYTES + 100_000)
    return request.SerializeToString()


class Served:
    """What is received goes to `books`."""

    def __init__(self) -> None:
        self.books = MemoryBooks()
        recogniser = Recogniser(tenant_attributes=("tenant.id",))
        self._intake = Intake(self.books, recogniser, ManualClock())
        reception = Reception(intake=self._intake, vocabulary=recogniser.vocabulary(), max_body_bytes=2**20)
        self._receivers = (GrpcReceiver(ANYWHERE, reception), HttpReceiver(ANYWHERE, reception, ready=lambda: ""))
        self._intake.start()
        self._grpc_port, self._http_port = (receiver.start() for receiver in self._receivers)

    def close(self) -> None:
        for receiver in self._receivers:
            receiver.stop(WAIT_S)
        self._intake.stop(WAIT_S)

    def export(self, *bodies: bytes) -> str:
        """Over gRPC: the code of the answer. Usual calls have one body."""
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            try:
                export: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/{SERVICE}/Export")
                export(iter(bodies), timeout=WAIT_S)
            except grpc.RpcError as error:
                return error.code().name
        return "OK"

    def answers(self, *pieces: bytes) -> bytes:
        """What comes back over HTTP for these until the server closes the connection: TimeoutError if it does not."""
        answer = bytearray()
        with (
            socket.create_connection(("127.0.0.1", self._http_port), timeout=WAIT_S) as connection,
            suppress(ConnectionError),  # reset, as there was more to read
        ):
            for piece in pieces:
                connection.sendall(piece)
            while part := connection.recv(65536):
                answer += part
        return bytes(answer)

    def begun(self, beginning: bytes) -> socket.socket:
        """A request over HTTP that goes no further."""
        connection = socket.create_connection(("127.0.0.1", self._http_port), timeout=WAIT_S)
        connection.sendall(beginning)
        return connection

    def post(self, body: bytes = BODY) -> int:
        """Over HTTP: the status of the answer."""
        url = f"http://127.0.0.1:{self._http_port}/v1/traces"
        return httpx.post(url, content=body, headers={"content-type": PROTOBUF}, trust_env=False).status_code


@pytest.fixture(params=["plain", "fast"])
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    if request.param == "plain":
        monkeypatch.setattr(loop, "uvloop", None)
        monkeypatch.setattr(http, "HttpProtocol", H11Protocol)
    else:
        pytest.importorskip("uvloop")
        pytest.importorskip("httptools")
    with closing(Served()) as served:
        yield served


def test_a_request_is_answered_when_it_is_in_the_journal(served: Served) -> None:
    assert (served.export(BODY), served.post()) == ("OK", 200)
    assert [entry.spans for entry in served.books.entries] == [1, 1]


def test_what_could_not_be_written_is_asked_for_again(served: Served) -> None:
    served.books.broken = disk_full()
    assert (served.export(BODY), served.post()) == ("UNAVAILABLE", 503)
    served.books.broken = None
    assert (served.export(BODY), served.post()) == ("OK", 200)
    assert [entry.spans for entry in served.books.entries] == [1, 1]


def test_a_body_that_is_too_large_leaves_the_next_request_its_answer(served: Served) -> None:
    assert (served.export(bytes(3 * 2**20)), served.post(bytes(3 * 2**20))) == ("RESOURCE_EXHAUSTED", 413)
    assert (served.export(BODY), served.post()) == ("OK", 200)


def test_a_call_without_a_message_is_refused(served: Served) -> None:
    assert served.export() == "INVALID_ARGUMENT"
    assert not served.books.entries


def test_large_bodies_take_turns_and_small_ones_go_between(served: Served) -> None:
    """More of them than have a turn at once, by both ways; one that is only begun, and one whose sender has gone."""
    large = large_body()
    assert SMALL_BYTES < len(large) < 2**20
    beginning = HEAD + b"content-length: %d\r\n\r\n" % len(large) + large[: SMALL_BYTES + 4096]
    with served.begun(beginning), ThreadPoolExecutor(12) as pool:
        served.begun(beginning).close()
        answers = [pool.submit(send, large) for send in (served.export, served.post) for _ in range(5)]
        answers += [pool.submit(send, BODY) for send in (served.export, served.post)]
        assert sorted(str(answer.result(WAIT_S)) for answer in answers) == ["200"] * 6 + ["OK"] * 6


HEAD = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\n".encode()
LONG = b"a" * 4096
TIMES = 1024
"""So that more comes than one read takes and may hold of a head."""


@pytest.mark.parametrize(
    "beginning",
    [
        b"POST /",
        HEAD + b"long: ",
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nlong: ",
    ],
    ids=["path", "header", "trailer"],
)
def test_a_head_without_end_is_refused(served: Served, beginning: bytes) -> None:
    assert len(LONG) * TIMES > 10 * MOST_HEAD_BYTES
    answer = served.answers(beginning, *[LONG] * TIMES)
    assert answer.startswith(b"HTTP/1.1 4") or not answer  # lost where the connection was reset
    assert served.post() == 200


def test_headers_without_end_are_refused(served: Served) -> None:
    answer = served.answers(HEAD, *[b"name: " + LONG + b"\r\n"] * TIMES)
    assert answer.startswith(b"HTTP/1.1 4") or not answer
    assert served.post() == 200


def test_requests_one_after_another_and_in_small_pieces_are_all_taken(served: Served) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    whole = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    long_headers = b"".join(b"name-%d: %s\r\n" % (number, LONG) for number in range(10))
    chunked = HEAD + long_headers + b"transfer-encoding: chunked\r\n\r\n" + chunks
    last = whole.replace(b"host: x", b"host: x\r\nconnection: close")
    answer = served.answers(*[whole] * 50, chunked, last)
    assert answer.count(b"HTTP/1.1 200") == 52
