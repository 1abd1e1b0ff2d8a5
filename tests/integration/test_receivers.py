"""Both servers in this process, in the event loop of each kind that they may run in."""

from collections.abc import Iterator
from contextlib import closing

import grpc
import httpx
import pytest

from spanmeter.pipeline.intake import Intake
from spanmeter.receiver import loop
from spanmeter.receiver.grpc import SERVICE, GrpcReceiver
from spanmeter.receiver.http import HttpReceiver
from spanmeter.receiver.reception import Reception
from spanmeter.settings import ListenAddress
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.recognition import Recogniser
from tests.acceptance.requests import PROTOBUF, call_request, new_response_id
from tests.unit.store.books import MemoryBooks, disk_full

WAIT_S = 10.0
ANYWHERE = ListenAddress(host="127.0.0.1", port=0)
BODY = call_request(new_response_id()).SerializeToString()


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

    def export(self) -> str:
        """Over gRPC: the code of the answer."""
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            try:
                export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Export")
                export(BODY, timeout=WAIT_S)
            except grpc.RpcError as error:
                return error.code().name
        return "OK"

    def post(self, body: bytes = BODY) -> int:
        """Over HTTP: the status of the answer."""
        url = f"http://127.0.0.1:{self._http_port}/v1/traces"
        return httpx.post(url, content=body, headers={"content-type": PROTOBUF}, trust_env=False).status_code


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    if request.param == "asyncio":
        monkeypatch.setattr(loop, "uvloop", None)
    else:
        pytest.importorskip("uvloop")
    with closing(Served()) as served:
        yield served


def test_a_request_is_answered_when_it_is_in_the_journal(served: Served) -> None:
    assert (served.export(), served.post()) == ("OK", 200)
    assert [entry.spans for entry in served.books.entries] == [1, 1]


def test_what_could_not_be_written_is_asked_for_again(served: Served) -> None:
    served.books.broken = disk_full()
    assert (served.export(), served.post()) == ("UNAVAILABLE", 503)
    served.books.broken = None
    assert (served.export(), served.post()) == ("OK", 200)
    assert [entry.spans for entry in served.books.entries] == [1, 1]


def test_a_body_that_is_too_large_leaves_the_next_request_its_answer(served: Served) -> None:
    assert served.post(bytes(3 * 2**20)) == 413
    assert served.post() == 200
