"""OTLP over gRPC: opentelemetry.proto.collector.trace.v1.TraceService/Export.

Source of the codes: OTLP specification 1.10, "Failures" and "OTLP/gRPC Throttling": INVALID_ARGUMENT is permanent;
UNAVAILABLE with RetryInfo asks to send again.
"""

import asyncio
import contextlib
import logging
import math
import threading
from concurrent.futures import Future

import grpc

from spanmeter.errors import MalformedError, StoreError
from spanmeter.receiver.loop import SMALL_BYTES, Commits, Told, new_event_loop
from spanmeter.receiver.reception import RETRY_AFTER_S, Reception
from spanmeter.receiver.turns import Turn, Turns
from spanmeter.settings import ListenAddress
from spanmeter.wire.body import Encoding
from spanmeter.wire.protobuf import decode_protobuf
from spanmeter.wire.reply import export_reply, status_reply
from spanmeter.wire.request import Rejections

log = logging.getLogger("spanmeter.grpc")

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
START_TIMEOUT_S = 30.0
MOST_LARGE = 1_000
"""Connections that are remembered as those of large bodies, of which some have ended."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcReceiver:
    """The gRPC server, an event loop in a thread of its own: what a small request costs are changes of threads, and
    one that waits in a thread of a pool for its commit makes twice as many. `start` returns the port.
    """

    def __init__(self, address: ListenAddress, reception: Reception, *, shares_port: bool = False) -> None:
        """With `shares_port`, other processes that do may listen there too."""
        self._address = address
        self._reception = reception
        self._shares_port = shares_port
        self._port: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._grace_s = 0.0
        self._large: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="spanmeter-grpc", daemon=True)

    def start(self) -> int:
        """Listen and serve. Raises OSError where the address cannot be had."""
        self._thread.start()
        return self._port.result(START_TIMEOUT_S)

    def stop(self, grace_s: float) -> None:
        """Refuse new requests at once, answer those in flight, within `grace_s` seconds."""
        self._grace_s = grace_s
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(grace_s + 1.0)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve())
        except Exception as error:
            if self._port.done():
                log.exception("the server has ended")
            else:
                self._port.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._commits, self._turns = Commits(self._loop), Turns(self._loop)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._reception.max_body_bytes),
                ("grpc.so_reuseport", int(self._shares_port)),
                # What may arrive before it is read: else it is as much as the connection carries, 16 MB of each call.
                ("grpc.http2.lookahead_bytes", SMALL_BYTES),
                ("grpc.http2.bdp_probe", 0),
            ]
        )
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(self._export)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)  # bodies stay bytes: no deserializer
        )
        try:
            port = server.add_insecure_port(str(self._address))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        await server.start()
        self._port.set_result(port)
        await self._stopping.wait()
        await server.stop(self._grace_s)

    async def _export(self, _: object, context: Context) -> bytes:
        # Declared as a call with a stream of messages, which is the same on the wire: so it is read when it is time.
        try:
            with self._turns.turn() as turn:
                rejections = await self._commits.after(self._receive, await self._message(context, turn), turn)
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        except (StoreError, TimeoutError) as error:
            await self._again(context, str(error) or "the journal did not answer in time")
        except Exception:
            log.exception("request failed")
            await self._again(context, "internal error")
        return export_reply(Encoding.PROTOBUF, rejected=rejections.count, message=rejections.message)

    async def _message(self, context: Context, turn: Turn) -> bytes:
        """The body. How large it is cannot be seen before: who sent a large one last waits for a turn, nobody else."""
        peer = context.peer()
        if peer in self._large:
            await turn.take()
        body = await context.read()
        if not isinstance(body, bytes):  # grpc.aio.EOF
            raise MalformedError("a call without a message")
        if len(body) <= SMALL_BYTES:
            self._large.discard(peer)
        elif len(self._large) < MOST_LARGE:
            self._large.add(peer)
        else:
            self._large = {peer}
        return body

    def _receive(self, body: bytes, told: Told) -> Rejections:
        request = decode_protobuf(body, self._reception.vocabulary)
        self._reception.intake.submit(request, told)
        return request.rejections  # the rest is let go of: it is larger than its body

    async def _again(self, context: Context, message: str) -> None:
        status = status_reply(
            Encoding.PROTOBUF,
            code=grpc.StatusCode.UNAVAILABLE.value[0],
            message=message,
            retry_after_s=math.ceil(RETRY_AFTER_S),
        )
        context.set_trailing_metadata((("grpc-status-details-bin", status),))
        await context.abort(grpc.StatusCode.UNAVAILABLE, message)
