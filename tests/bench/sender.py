"""The load generator, a process of its own: `python -m tests.bench.sender JSON`.

Each connection is a thread that sends its next request when the last was acknowledged, or, with a rate, when the next
is due. Prints `begin` and `end` around the time that counts, then a line of JSON; between them one every
`tell_every_s`, of the requests that were answered since the last. Where requests are so large that few are answered in
the time that was ordered, it goes on until each connection had two.
"""

import gzip
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from tests.bench.http2 import Http2Connection
from tests.bench.loads import Load, Template, template_of

_WARM_UP_S = 0.4
_SEEDS = 8
_LEAST_A_CONNECTION = 2
_LONGEST_S = 20.0
_TIMEOUT_S = 60.0
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Send = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`rate` is in requests a second over all connections, 0: as fast as they are answered. `tell_every_s` 0: only at
    the end."""

    load: Load
    way: str
    port: int
    connections: int
    seconds: float
    first: int
    rate: float = 0.0
    is_gzip: bool = False
    tell_every_s: float = 0.0

    def line(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class _Run:
    """What all connections share; they begin together. `answered` are when requests were begun and ended, since that
    was told last."""

    order: Order
    begin_s: float = 0.0
    end_s: float = 0.0
    sent: int = 0
    errors: int = 0
    counted: int = 0
    is_over: bool = False
    answered: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ready: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.ready = threading.Barrier(self.order.connections + 1, self._begin)

    def _begin(self) -> None:
        self.begin_s = time.monotonic() + _WARM_UP_S
        self.end_s = self.begin_s + self.order.seconds

    def next_number(self) -> int:
        with self.lock:
            self.sent += 1
            return self.order.first + self.sent

    def answer(self, begun_s: float) -> None:
        ended_s = time.monotonic()
        with self.lock:
            self.answered.append((begun_s, ended_s))
            self.counted += ended_s >= self.begin_s

    def wait(self) -> None:
        """Until the time is over that counts."""
        time.sleep(max(0.0, self.end_s - time.monotonic()))
        least, latest_s = _LEAST_A_CONNECTION * self.order.connections, self.end_s + _LONGEST_S
        while self.counted < least and time.monotonic() < latest_s and not self.order.rate:
            time.sleep(0.01)
        self.end_s = time.monotonic()
        self.is_over = True

    def told(self) -> dict[str, float]:
        """What was answered since the last time: the number in the time that counts, and latencies of those that were
        begun in it."""
        with self.lock:
            answered, self.answered = self.answered, []
            errors, self.errors = self.errors, 0
        latencies = sorted(ended_s - begun_s for begun_s, ended_s in answered if begun_s >= self.begin_s)
        return {
            "requests": sum(self.begin_s <= ended_s <= self.end_s for _, ended_s in answered),
            "errors": errors,
            "p50_ms": 1000 * _quantile(latencies, 0.5),
            "p99_ms": 1000 * _quantile(latencies, 0.99),
        }


def main() -> None:
    told = json.loads(sys.argv[1])
    order = Order(**(told | {"load": Load(**told["load"])}))
    run = _Run(order)
    templates = [template_of(order.load, seed=seed) for seed in range(min(order.connections, _SEEDS))]
    threads = [
        threading.Thread(target=_send_all, args=(run, templates[place % len(templates)], place), daemon=True)
        for place in range(order.connections)
    ]
    for thread in threads:
        thread.start()
    run.ready.wait(_TIMEOUT_S)
    time.sleep(max(0.0, run.begin_s - time.monotonic()))
    _say("begin")
    next_s = run.begin_s + order.tell_every_s
    while order.tell_every_s and next_s <= run.end_s:
        time.sleep(max(0.0, next_s - time.monotonic()))
        _say(json.dumps(run.told()))
        next_s += order.tell_every_s
    run.wait()
    _say("end")
    for thread in threads:
        thread.join(_TIMEOUT_S)
    _say(json.dumps(run.told() | {"sent": run.sent, "seconds": run.end_s - run.begin_s}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def _send_all(run: _Run, template: Template, place: int) -> None:
    order = run.order
    send = _grpc(order) if order.way == "grpc" else _http(order)
    run.ready.wait(_TIMEOUT_S)
    every_s = order.connections / order.rate if order.rate else 0.0
    due_s = time.monotonic() + every_s * place / order.connections
    while not run.is_over:
        body = template.request(run.next_number())
        if order.is_gzip:
            body = gzip.compress(body, 1)
        begun_s = time.monotonic()
        if every_s:
            if due_s > begun_s:
                time.sleep(due_s - begun_s)
                begun_s = time.monotonic()  # that it was woken late is nothing of the server's
            else:
                begun_s = due_s  # the last answer was late: that counts for this one, too
            due_s += every_s
        try:
            send(body)
        except OSError as error:
            run.errors += 1
            if run.errors == 1:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            time.sleep(0.05)
            continue
        run.answer(begun_s)


def _grpc(order: Order) -> Send:
    connection = Http2Connection(order.port, _METHOD, timeout_s=_TIMEOUT_S, encoding="gzip" if order.is_gzip else "")
    return connection.call


def _http(order: Order) -> Send:
    connection = socket.create_connection(("127.0.0.1", order.port), timeout=_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    encoding = "content-encoding: gzip\r\n" if order.is_gzip else ""
    head = f"POST /v1/traces HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-protobuf\r\n{encoding}"

    def send(body: bytes) -> None:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode(), socket.MSG_MORE)
        connection.sendall(body)
        reply = connection.recv(65536)
        while not _is_whole(reply):
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("closed by the server")
            reply += piece
        if not reply.startswith(b"HTTP/1.1 200"):
            raise OSError(reply[:60].decode("latin-1"))

    return send


def _is_whole(reply: bytes) -> bool:
    head, end, body = reply.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and (length is None or len(body) >= int(length[1]))


if __name__ == "__main__":
    main()
