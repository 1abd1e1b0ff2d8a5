"""OTLP over HTTP (`POST /v1/traces`), and the health endpoints.

Source of the codes: OTLP specification 1.10, "OTLP/HTTP Response": 400 permanent, 429 and 503 with Retry-After to be
sent again; error bodies are google.rpc.Status in the request's encoding.
"""

import asyncio
import contextlib
import logging
import math
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from spanmeter.errors import MalformedError, RequestError, StoreError, TooLargeError, UnsupportedError
from spanmeter.receiver.loop import SMALL_BYTES, Commits, Told, new_event_loop
from spanmeter.receiver.parser import MOST_HEAD_BYTES, HttpProtocol
from spanmeter.receiver.reception import RETRY_AFTER_S, Reception
from spanmeter.receiver.turns import Turn, Turns
from spanmeter.settings import ListenAddress
from spanmeter.wire.body import Encoding, decode, encoding_of, inflate
from spanmeter.wire.reply import export_reply, status_reply
from spanmeter.wire.request import Rejections

log = logging.getLogger("spanmeter.http")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATHS = frozenset({"/v1/traces", "/api/public/otel/v1/traces"})
"""The OTLP specification's path, and that of Langfuse's SDKs (langfuse 3, _client/span_processor.py)."""
INFLATION = 10
"""By how much text that was compressed usually grows."""
DISCARD_BYTES = 1024**3
DISCARD_TIMEOUT_S = 30.0
_INVALID_ARGUMENT, _UNAVAILABLE, _INTERNAL = 3, 14, 13


class HttpReceiver:
    """The HTTP server in a thread of its own. `ready` tells /readyz whether requests can be taken."""

    def __init__(
        self,
        address: ListenAddress,
        reception: Reception,
        *,
        ready: Callable[[], str],
        shares_port: bool = False,
    ) -> None:
        """With `shares_port`, other processes that do may listen there too."""
        self._address = address
        self._shares_port = shares_port
        self._reception = reception
        self._ready = ready
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",  # uvicorn's guess is wrong for a bound method
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
                http=HttpProtocol,
                h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="spanmeter-http", daemon=True)

    def start(self) -> int:
        """Listen and serve; returns the port. Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._address.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._shares_port:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((self._address.host, self._address.port))
            self._socket.listen(1024)
        except OSError as error:
            self._socket.close()
            raise OSError(f"cannot listen on {self._address}: {error.strerror}") from error
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def stop(self, grace_s: float) -> None:
        """Refuse new connections, answer requests in flight, within `grace_s` seconds."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(grace_s + 1.0)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve_in_loop())

    async def _serve_in_loop(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        self._commits, self._turns = Commits(loop), Turns(loop)
        await self._server.serve(sockets=[self._socket])

    async def _app(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path in PATHS and method == "POST":
            await self._traces(scope, receive, send)
        elif not await _discard(receive):
            return
        elif path in PATHS:
            await _answer(send, 405, b"POST only\n", headers=[(b"allow", b"POST")])
        elif path in ("/healthz", "/readyz") and method in ("GET", "HEAD"):
            problem = "" if path == "/healthz" else self._ready()
            await _answer(send, 503 if problem else 200, f"{problem or 'ok'}\n".encode())
        else:
            await _answer(send, 404, b"there are POST /v1/traces, GET /healthz and GET /readyz here\n")

    async def _traces(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        try:
            encoding = encoding_of(content_type)
        except UnsupportedError as error:
            if await _discard(receive):
                await _answer(send, 415, f"{error.message}\n".encode())
            return
        try:
            compression = headers.get(b"content-encoding", b"").decode("latin-1")

            def receive_body(body: bytes, told: Told) -> Rejections:
                body = inflate(body, compression, limit=self._reception.max_body_bytes)
                request = decode(body, content_type, self._reception.vocabulary)
                self._reception.intake.submit(request, told)
                return request.rejections  # the rest is let go of: it is larger than its body

            with self._turns.turn() as turn:
                rejections = await self._commits.after(
                    receive_body,
                    await self._read(receive, headers, turn),
                    turn,
                    growth=INFLATION if compression else 1,
                )
        except _GoneError:
            return
        except RequestError as error:
            if isinstance(error, TooLargeError) and not await _discard(receive):
                return
            await _refuse(send, encoding, error)
        except (StoreError, TimeoutError) as error:
            await _again(send, encoding, str(error) or "the journal did not answer in time")
        except Exception:
            log.exception("request failed")
            await _again(send, encoding, "internal error")
        else:
            reply = export_reply(encoding, rejected=rejections.count, message=rejections.message)
            await _answer(send, 200, reply, content_type=encoding.value.encode())

    async def _read(self, receive: Receive, headers: dict[bytes, bytes], turn: Turn) -> bytes:
        """The body; of a large one when it is its turn. Stops reading at the limit."""
        limit = self._reception.max_body_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(f"body of {int(length)} bytes, at most {limit} are taken")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part = message.get("body", b"")
            if size <= SMALL_BYTES < size + len(part):
                await turn.take()
            size += len(part)
            if size > limit:
                raise TooLargeError(f"body of more than {limit} bytes")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


class _GoneError(Exception):
    """The client went away before its body was there."""


async def _discard(receive: Receive) -> bool:
    """Read what still comes of a body that is refused, up to a bound; False where the client is gone. A socket closed
    with bytes unread is reset, and the client never sees the answer, so that it sends the same again; and a body that
    is no HTTP is answered by uvicorn itself, after which it takes no other answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while size < DISCARD_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return False
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
    return True


async def _refuse(send: Send, encoding: Encoding, error: RequestError) -> None:
    status = {MalformedError: 400, TooLargeError: 413, UnsupportedError: 415}.get(type(error), 400)
    body = status_reply(encoding, code=_INVALID_ARGUMENT, message=error.message)
    # The connection stays open, also on 413: uvicorn reads on and discards. Closed with a body still coming, the kernel
    # resets it, most clients never see the answer, and they send the same again.
    await _answer(send, status, body, content_type=encoding.value.encode())


async def _again(send: Send, encoding: Encoding, message: str) -> None:
    body = status_reply(encoding, code=_UNAVAILABLE, message=message, retry_after_s=RETRY_AFTER_S)
    retry_after = str(math.ceil(RETRY_AFTER_S)).encode()
    await _answer(send, 503, body, content_type=encoding.value.encode(), headers=[(b"retry-after", retry_after)])


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"text/plain; charset=utf-8",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    fields = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
