"""The stand-in's HTTP side: connections, paths, bodies, chunked events and their ends."""

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from spanmeter.demo import answers
from spanmeter.demo.answers import Api, Json, Question

TENANT_HEADER: Final = "x-demo-tenant"

_MAX_BODY_BYTES: Final = 16 * 2**20
_IDLE_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 5.0


class Answering(Protocol):
    """Who decides on answers and keeps the record of them. Called from many threads at once."""

    def take_failure(self) -> int | None:
        """The status with which to refuse this request, or None to answer it."""

    def question(self, api: Api, body: Json) -> Question:
        """Number the request: the number decides ids and token counts."""

    def answer(
        self, question: Question, tenant: str | None, *, pieces: Iterator[bytes], send: Callable[[bytes], None]
    ) -> None:
        """Send all pieces, at least one, in order, and record the call. Raises the OSError with which `send` failed."""


class Listener(ThreadingHTTPServer):
    """A thread a connection; `close` ends also those that wait on a kept-alive one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answering: Answering) -> None:
        self.answering = answering
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no error of this server
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.server_close()
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # its thread has just closed it
            self._changed.wait_for(lambda: not self._open, _STOP_TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_TIMEOUT_S

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self._refuse(HTTPStatus.NOT_FOUND, f"{self.path} is not served here; the stand-in has no such address")
            return
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "spanmeter-local"}
            for name in answers.DATED_MODELS
        ]
        self._send_json(HTTPStatus.OK, json.dumps({"object": "list", "data": models}).encode())

    def do_POST(self) -> None:
        body = self._read_body()
        if body is None:
            return
        api = _api_at(self.path)
        if api is None:
            self._refuse(HTTPStatus.NOT_FOUND, f"{self.path} is not served here; the stand-in has no such address")
        elif not isinstance(body.get("model"), str):
            self._refuse(HTTPStatus.BAD_REQUEST, "you must provide a model parameter")
        elif (status := self.server.answering.take_failure()) is not None:
            self._refuse(
                HTTPStatus(status), "the stand-in was told to refuse this request", headers={"retry-after-ms": "10"}
            )
        else:
            self._answer(api, body)

    def _answer(self, api: Api, body: Json) -> None:
        question = self.server.answering.question(api, body)
        send: Callable[[bytes], None] = self._send_event
        match api:
            case "chat" if question.streamed:
                pieces = _events(answers.chat_stream(question))
            case "responses" if question.streamed:
                pieces = _events(answers.responses_stream(question))
            case "chat":
                pieces = iter([json.dumps(answers.chat_answer(question)).encode()])
            case "responses":
                pieces = iter([json.dumps(answers.responses_answer(question)).encode()])
            case "embeddings":
                pieces = iter([json.dumps(answers.embeddings_answer(question)).encode()])
        if question.streamed:
            self.send_response(HTTPStatus.OK)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
        else:
            send = self._send_answer
        self.server.answering.answer(question, self.headers.get(TENANT_HEADER), pieces=pieces, send=send)
        if question.streamed:
            self.wfile.write(b"0\r\n\r\n")

    def _send_event(self, event: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def _send_answer(self, body: bytes) -> None:
        self._send_json(HTTPStatus.OK, body)

    def _read_body(self) -> Json | None:
        """The request's JSON object, or None where the request has been refused."""
        try:
            length = int(self.headers.get("content-length") or "")
        except ValueError:
            length = -1
        if not 0 <= length <= _MAX_BODY_BYTES:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"a body with a content-length of at most {_MAX_BODY_BYTES} is needed")
            return None
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}")
            return None
        if not isinstance(body, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
            return None
        return body

    def _refuse(self, status: HTTPStatus, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        error = {"message": message, "type": status.phrase, "param": None, "code": None}
        self._send_json(status, json.dumps({"error": error}).encode(), headers=headers)

    def _send_json(self, status: HTTPStatus, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Nothing: the record is in `calls`."""


def _api_at(path: str) -> Api | None:
    """OpenAI's addresses, and Azure's: `/v1/deployments/gpt-4o/chat/completions?api-version=…`."""
    match re.sub(r"/deployments/[^/]+|\?api-version=.*", "", path):
        case "/v1/chat/completions":
            return "chat"
        case "/v1/embeddings":
            return "embeddings"
        case "/v1/responses":
            return "responses"
        case _:
            return None


def _events(data: Iterator[str]) -> Iterator[bytes]:
    """Server-sent events; those of the Responses API also bear their type as the event's name, as OpenAI's do."""
    for item in data:
        kind = None if item == "[DONE]" else json.loads(item).get("type")
        yield (f"event: {kind}\n" if kind else "").encode() + f"data: {item}\n\n".encode()
