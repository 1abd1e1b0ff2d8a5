"""A local stand-in for Anthropic's Messages API, plain and streamed, with a record of what it reported."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TENANT_HEADER = "x-demo-tenant"


class AnthropicProvider(ThreadingHTTPServer):
    """`truth`: tokens by tenant and class, input with cached ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.truth: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._answered = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, tenant: str) -> tuple[str, dict[str, int]]:
        """The message's id and its usage."""
        with self._lock:
            self._answered += 1
            usage = {
                "input_tokens": 10 + self._answered,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 7,
                "output_tokens": 3 * self._answered,
            }
            self.truth[tenant, "input"] += 117 + self._answered
            self.truth[tenant, "output"] += 3 * self._answered
            return f"msg_01XFDUDYJgAACzvnptvVo{self._answered:04}", usage


class _Handler(BaseHTTPRequestHandler):
    server: AnthropicProvider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number, usage = self.server.answer(self.headers[TENANT_HEADER])
        message: dict[str, object] = {
            "id": number,
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": "384,400 km"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        if body.get("stream"):
            kind, answer = "text/event-stream", b"".join(_events(message, usage))
        else:
            kind, answer = "application/json", json.dumps(message).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Nothing."""


def _events(message: dict[str, object], usage: dict[str, int]) -> Iterator[bytes]:
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    for event in (
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "384,400 km"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": usage["output_tokens"]},
        },
        {"type": "message_stop"},
    ):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


@contextmanager
def running_anthropic() -> Iterator[AnthropicProvider]:
    with AnthropicProvider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
