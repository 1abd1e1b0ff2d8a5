"""The sender's calls are gRPC's."""

import gzip
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest

from tests.bench.http2 import Http2Connection

METHOD = "/a.Service/Take"
WAIT_S = 10.0


class Taking:
    """A server of gRPC's own that keeps what it was sent; a message that begins with `no` is refused."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.taken: list[bytes] = []
        self.server = grpc.server(pool, options=[("grpc.max_receive_message_length", 2**25)])
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._take)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Take": handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _take(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        if body.startswith(b"no"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        self.taken.append(body)
        return b""


@pytest.fixture
def taking() -> Iterator[Taking]:
    with ThreadPoolExecutor(1) as pool:
        taking = Taking(pool)
        yield taking
        taking.server.stop(0).wait(WAIT_S)


def test_bodies_of_any_size_arrive_one_after_another(taking: Taking) -> None:
    bodies = [b"", b"x", *[os.urandom(size) for size in (16_384, 65_535, 65_536, 1_000_000, 10_000_000)], b"y"]
    with closing(Http2Connection(taking.port, METHOD, timeout_s=WAIT_S)) as connection:
        for body in bodies:
            connection.call(body)
    assert taking.taken == bodies


def test_compressed_bodies(taking: Taking) -> None:
    with closing(Http2Connection(taking.port, METHOD, timeout_s=WAIT_S, encoding="gzip")) as connection:
        connection.call(gzip.compress(b"text"))
    assert taking.taken == [b"text"]


def test_a_refusal_is_an_error_and_the_next_call_is_not(taking: Taking) -> None:
    with closing(Http2Connection(taking.port, METHOD, timeout_s=WAIT_S)) as connection:
        with pytest.raises(OSError, match="refused"):
            connection.call(b"no")
        connection.call(b"yes")
    assert taking.taken == [b"yes"]
