"""Konnect's ingest endpoint on loopback: real HTTP, the service's rules, and faults on demand."""

import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never
from urllib.parse import parse_qs, urlsplit

from spanmeter.clock import Clock, SystemClock
from spanmeter.testing.cuttable_server import CuttableServer
from spanmeter.testing.faults import Answer, Fault, Garbage, HangUp, Poison, Slow, TakeAndHangUp, TakeAndLose
from spanmeter.testing.metering_event import Violation, parse, violations
from spanmeter.testing.openapi import schema_check
from spanmeter.testing.reading_back import LLM_TOKENS, Account, StoredEvent
from spanmeter.testing.reading_back import answer as read_back

V3_PATHS = ("/v3/openmeter/events", "/api/v3/openmeter/events")
V1_PATH = "/api/v1/events"
_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it arrived. `headers` have lower-case names; an Authorization is kept as its scheme only."""

    path: str
    headers: dict[str, str]
    size: int


class MeteringService:
    """A service of our own to deliver to. A context manager; `url` is Konnect's path.

    The whole batch is refused if any event in it breaks a rule, in the terms of v3 (`invalid_parameters`) or v1.
    What is taken is deduplicated by source and id, in silence. `faults` befall the requests to come, one each, in
    order; None is none; an endless iterator never stops. `token`, where given, is required; with `ingest_only` it may
    not read. What is stored is listed as v3 and v1 do, with complaints of subjects that are no `customers` (None: all
    are) and of types that none of the `meters` counts; both are computed at reading, and may be changed with `know`.

    `events` are those taken, without repetitions, in order; `batches` the batches taken, with them; `duplicates` how
    many were dropped; `requests` all that were posted, whatever became of them; `reads` all GET requests;
    `connections` how many were opened. A bug in here is raised at the exit.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        faults: Iterable[Fault | None] = (),
        openapi_path: Path | None = None,
        port: int = 0,
        ingest_only: bool = False,
        customers: Collection[str] | None = None,
        meters: Sequence[Mapping[str, Any]] = (LLM_TOKENS,),
        clock: Clock | None = None,
    ) -> None:
        self._token = token
        self._ingest_only = ingest_only
        self._clock = clock or SystemClock()
        self._account = Account(customers=None if customers is None else frozenset(customers), meters=meters)
        self._stored: list[StoredEvent] = []
        self._faults: Iterator[Fault | None] = iter(faults)
        self._schema = schema_check(openapi_path) if openapi_path is not None else None
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.requests: list[Request] = []
        self.reads: list[Request] = []
        self.duplicates = 0
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="metering-service")

    def __repr__(self) -> str:
        return f"MeteringService({self.url!r})"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self._server.errors:
            raise self._server.errors[0]

    def stop(self) -> None:
        """Cuts all connections and closes the port. Idempotent."""
        self._server.stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.cut()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def connections(self) -> int:
        return self._server.accepted

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.base_url + V3_PATHS[0]

    @property
    def v1_url(self) -> str:
        return self.base_url + V1_PATH

    @property
    def faults(self) -> Iterator[Fault | None]:
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Fault | None]) -> None:
        with self._lock:
            self._faults = iter(faults)

    def _arrive(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            return next(self._faults, None)

    def know(self, *, customers: Collection[str] | None = None, meters: Sequence[Mapping[str, Any]] = ()) -> None:
        """Customers or meters made later: what is there already is seen with other eyes."""
        with self._lock:
            if customers is not None:
                self._account = replace(self._account, customers=frozenset(customers))
            self._account = replace(self._account, meters=[*self._account.meters, *meters])

    def _read(self, request: Request) -> tuple[int, Any]:
        """Status and document of a GET request that is entitled to one."""
        parts = urlsplit(request.path)
        with self._lock:
            self.reads.append(request)
            now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
            return read_back(parts.path, parse_qs(parts.query), self._stored, self._account, now=now)

    def _check(self, events: list[Any]) -> list[Violation]:
        return [*violations(events), *(self._schema(events) if self._schema is not None else ())]

    def _take(self, events: list[dict[str, Any]], fault: Fault | None = None) -> None:
        with self._lock:
            if isinstance(fault, TakeAndLose):
                self._seen.update(f"{event['source']}-{event['id']}" for event in events if fault.claims)
                return
            self.batches.append(events)
            for event in events:
                # Joined without a mark between, as in OpenMeter: a-b + c equals a + b-c.
                key = f"{event['source']}-{event['id']}"
                if key in self._seen:
                    self.duplicates += 1
                else:
                    self._seen.add(key)
                    self.events.append(event)
                    self._stored.append(
                        StoredEvent(row=len(self._stored), event=event, ingested_ns=self._clock.now_ns())
                    )


class _Server(CuttableServer):
    def __init__(self, service: MeteringService, port: int) -> None:
        self.service = service
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: tests look at `requests`."""

    def do_GET(self) -> None:
        service = self.server.service
        request, authorization = self._request()
        if service._token is not None and authorization != f"Bearer {service._token}":
            self._problem(401, "Unauthorized", "no valid token")
        elif service._ingest_only:
            self._problem(403, "Forbidden", "You do not have permission to perform this action")
        else:
            status, document = service._read(request)
            if status == 200:
                self._answer(200, json.dumps(document).encode(), {"content-type": "application/json"})
            else:
                self._problem(status, "Bad Request" if status == 400 else "Not Found", document)

    def _request(self) -> tuple[Request, str]:
        """The request, and its whole Authorization."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        authorization = headers.get("authorization", "")
        if authorization:
            headers["authorization"] = authorization.split(" ", 1)[0]
        return Request(path=self.path, headers=headers, size=int(headers.get("content-length", "0"))), authorization

    def do_POST(self) -> None:
        request, authorization = self._request()
        fault = self.server.service._arrive(request)
        if isinstance(fault, HangUp):
            self.close_connection = True
            return
        body = self.rfile.read(request.size)
        match fault:
            case Answer():
                self._answer(fault.status, fault.body, fault.headers)
                return
            case Garbage():
                self.wfile.write(fault.data)
                self.close_connection = True
                return
            case Slow():
                self.server.stopping.wait(fault.delay_s)
            case None | TakeAndHangUp() | TakeAndLose() | Poison():
                pass
            case _ as never:
                assert_never(never)
        if self._is_entitled(authorization):
            self._ingest(request.headers.get("content-type", ""), body, fault)

    def _is_entitled(self, authorization: str) -> bool:
        token = self.server.service._token
        if self.path not in (*V3_PATHS, V1_PATH):
            self._problem(404, "Not Found", "the requested route does not exist")
        elif token is not None and authorization != f"Bearer {token}":
            self._problem(401, "Unauthorized", "no valid token")
        else:
            return True
        return False

    def _ingest(self, content_type: str, body: bytes, fault: Fault | None) -> None:
        service = self.server.service
        media_type = content_type if self.path == V1_PATH else content_type.split(";", 1)[0].strip().lower()
        if media_type not in _TYPES:
            self._problem(400, "Bad Request", "invalid content type")
            return
        try:
            parsed = parse(body)
        except ValueError as error:
            self._problem(400, "Bad Request", f"request body has an error: failed to decode request body: {error}")
            return
        single = media_type == _TYPES[0] or (media_type == _TYPES[2] and isinstance(parsed, dict))
        events = [parsed] if single else parsed
        if not isinstance(events, list):
            self._problem(400, "Bad Request", "request body has an error: value must be an array")
            return
        if not events and media_type == _TYPES[2]:
            self._problem(400, "Bad Request", "no events found")
            return
        found = service._check(events)
        if not found and isinstance(fault, Poison):
            bad = [index for index, event in enumerate(events) if fault.is_bad(event)]
            if bad and not fault.named:
                self._problem(400, "Bad Request", "an event is poisoned")
                return
            found = [Violation(field=f"{index}.data", rule="poison", reason="event is poisoned") for index in bad]
        if found:
            self._refuse(found)
            return
        service._take(events, fault)
        if isinstance(fault, TakeAndHangUp):
            self.close_connection = True
        else:
            self._answer(204 if self.path == V1_PATH else 202, b"", {})

    def _refuse(self, found: list[Violation]) -> None:
        first = found[0]
        if self.path == V1_PATH:
            # v1 stops at the first and names no index.
            self._problem(400, "Bad Request", f"request body has an error: doesn't match schema: {first.reason}")
            return
        parameters = [{"field": v.field, "rule": v.rule, "reason": v.reason, "source": "body"} for v in found]
        detail = f"Bad Request: {first.field} [{first.rule}]: {first.reason}"
        self._problem(400, "Bad Request", detail, invalid_parameters=parameters)

    def _problem(self, status: int, title: str, detail: str, **more: Any) -> None:
        problem = {"type": "about:blank", "status": status, "title": title, "instance": "urn:request:test"}
        body = json.dumps({**problem, "detail": detail, **more}).encode()
        self._answer(status, body, {"content-type": "application/problem+json"})

    def _answer(self, status: int, body: bytes, headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
