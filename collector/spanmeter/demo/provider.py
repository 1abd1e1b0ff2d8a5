"""A local, OpenAI-compatible HTTP server that asks no model and keeps a record of what it reported.

The demonstration and the acceptance tests call it with the real `openai` client, and afterwards compare what was billed
with `LocalProvider.calls`. Chat completions, embeddings, responses and the list of models; on 127.0.0.1 only.

    python -m spanmeter.demo.provider --port 0 --record truth.jsonl
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from spanmeter.clock import Clock, SystemClock
from spanmeter.demo.answers import Api, Json, Question
from spanmeter.demo.listener import Listener

BANNER: Final = "spanmeter demo: a local stand-in for an LLM service; no model is asked and nothing leaves this machine"

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCall:
    """One request as it was answered: what a bill must agree with.

    The token counts are what the call cost, also where `usage_reported` is false: then the client was not told.
    `input_tokens` includes `cached_tokens`, `output_tokens` includes `reasoning_tokens`. `completed` is false where the
    client went away before the end. `response_id` is None for embeddings, whose answers have none.
    """

    response_id: str | None
    api: Api
    tenant: str | None
    model_request: str
    model_response: str
    streamed: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    usage_reported: bool
    completed: bool


class LocalProvider:
    """The server, from `start` to `stop`; also a context manager. May be started once.

    `port` 0 takes a free one. The first `fail_first` requests for an answer are refused with `fail_status` (they are
    not in `calls`), asking for a wait of 10 ms, so that a client's retries are exercised without slowing a test. Ids
    and token counts depend on `seed` and on the order of the answered requests. With `record`, each call is also
    appended to that file as a JSON line.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int = 0,
        fail_first: int = 0,
        fail_status: Literal[429, 500] = 500,
        record: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._seed = seed
        self._fails_left = fail_first
        self._fail_status = fail_status
        self._record = record
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._calls: list[ServedCall] = []
        self._answered = 0
        self._refused = 0
        self._server = Listener((_HOST, port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="demo-provider", daemon=True
        )

    def start(self) -> Self:
        """Serve in the background; requests are accepted on return."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the listener and every connection, and wait for their threads. Answers that are under way are cut."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_STOP_TIMEOUT_S)
        self._server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What `OpenAI(base_url=…)` takes."""
        return f"http://{_HOST}:{self._server.server_address[1]}/v1"

    @property
    def calls(self) -> tuple[ServedCall, ...]:
        """In the order in which answers ended. A call is here before its client can have read the last byte."""
        with self._lock:
            return tuple(self._calls)

    @property
    def refused(self) -> int:
        """How many requests `fail_first` has turned away."""
        with self._lock:
            return self._refused

    def take_failure(self) -> int | None:
        """The status with which to refuse this request, or None to answer it."""
        with self._lock:
            if self._fails_left == 0:
                return None
            self._fails_left -= 1
            self._refused += 1
            return self._fail_status

    def question(self, api: Api, body: Json) -> Question:
        """Number the request: the number decides ids and token counts."""
        with self._lock:
            number = self._answered
            self._answered += 1
        return Question(api=api, body=body, number=number, seed=self._seed, created_s=self._clock.now_ns() // 10**9)

    def answer(
        self, question: Question, tenant: str | None, *, pieces: Iterator[bytes], send: Callable[[bytes], None]
    ) -> None:
        """Send all pieces and keep the record: before the last piece, and corrected if the client was gone."""
        cost = question.tokens
        call = ServedCall(
            response_id=question.response_id,
            api=question.api,
            tenant=tenant,
            model_request=question.model_request,
            model_response=question.model_response,
            streamed=question.streamed,
            input_tokens=cost.input,
            output_tokens=cost.output,
            cached_tokens=cost.cached,
            reasoning_tokens=cost.reasoning,
            usage_reported=question.reports_usage,
            completed=True,
        )
        position: int | None = None
        try:
            piece = next(pieces)
            for following in pieces:
                send(piece)
                piece = following
            position = self._remember(call)
            send(piece)
        except OSError:
            call = replace(call, completed=False, usage_reported=False)
            self._remember(call, position=position)
            raise
        finally:
            self._write(call)

    def _remember(self, call: ServedCall, *, position: int | None = None) -> int:
        with self._lock:
            if position is None:
                self._calls.append(call)
                return len(self._calls) - 1
            self._calls[position] = call
            return position

    def _write(self, call: ServedCall) -> None:
        if self._record is None:
            return
        with self._lock, self._record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(call)) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The URL is the one line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m spanmeter.demo.provider", description=BANNER)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="decides ids and token counts")
    parser.add_argument("--fail-first", type=int, default=0, metavar="K", help="refuse the first K requests")
    parser.add_argument("--fail-status", type=int, choices=(429, 500), default=500, help="with this status")
    parser.add_argument("--record", type=Path, metavar="FILE", help="append each call to FILE as a line of JSON")
    chosen = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with LocalProvider(
        chosen.port,
        seed=chosen.seed,
        fail_first=chosen.fail_first,
        fail_status=chosen.fail_status,
        record=chosen.record,
    ) as provider:
        sys.stderr.write(f"{BANNER}\n")
        sys.stdout.write(f"{provider.url}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
