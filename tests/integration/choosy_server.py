"""A chat completions server that refuses what it does not know, as some compatible ones do."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self

CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}


class ChoosyServer:
    """Refuses requests with `stream_options` by `refuse_with` (0: none), with `always` all. `asked` has for each
    request whether it had them."""

    def __init__(self, *, refuse_with: int, always: bool = False) -> None:
        self.refuse_with = refuse_with
        self.asked: list[bool] = []
        choosy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked = "stream_options" in body
                choosy.asked.append(asked)
                if choosy.refuse_with and (asked or always):
                    answer, kind = json.dumps({"error": {"message": "no"}}), "application/json"
                    self.send_response(choosy.refuse_with)
                else:
                    answer, kind = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n", "text/event-stream"
                    self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
