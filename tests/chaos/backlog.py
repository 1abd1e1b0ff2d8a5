"""A collector in front of very many pending events: how soon it listens and sends, how much memory it takes."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from spanmeter.store.database import FILE_NAME, Database
from tests.acceptance.child import eventually
from tests.acceptance.collector import running_collector
from tests.chaos.books import body_of, fill, usage_event

START_TIMEOUT_S = 60.0
SETTINGS = {"SPANMETER_MIN_FREE_MB": "0"}
LATENCY_S = 0.05
"""Of a service in another city, answered well."""
_NUMBER = re.compile(rb'"number":(\d+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogFigures:
    """Seconds from a start until both ports listen, and until the first batch has come, for a first start and for one
    after kill -9 in the middle. `latest` is how many newer events had come before one that came for the first time:
    batches in flight overtake each other."""

    events: int
    file_mib: float
    listens_s: float
    sends_s: float
    listens_again_s: float
    sends_again_s: float
    idle_mib: float
    peak_mib: float
    seconds: float
    events_a_second: float
    missing: int
    repeated: int
    latest: int


class Counts:
    """How often each numbered event came, and how late at worst."""

    def __init__(self, events: int) -> None:
        self._times = bytearray(events)
        self._change = threading.Condition()
        self._last = -1
        self.total = 0
        self.latest = 0

    def take(self, numbers: list[int]) -> None:
        with self._change:
            new = [number for number in numbers if not self._times[number]]
            self.latest = max([self.latest, *(self._last - number for number in new)])
            self._last = max(self._last, *numbers)
            self.total += len(numbers)
            for number in numbers:
                self._times[number] = min(255, self._times[number] + 1)
            self._change.notify_all()

    def wait_for(self, total: int, timeout_s: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self.total >= total, timeout_s)

    @property
    def missing(self) -> int:
        return self._times.count(0)


def run_backlog(folder: Path, events: int, *, timeout_s: float) -> BacklogFigures:
    """Make the events, start, kill in the middle, start again, and let all be sent."""
    data_dir = folder / "data"
    idle_mib = _idle_mib(folder / "idle")
    with closing(Database.open(data_dir)) as database:
        fill(database, ((event, body_of(event)) for event in map(usage_event, range(events))))
    file_mib = (data_dir / FILE_NAME).stat().st_size / 2**20
    counts = Counts(events)
    with _counting_service(counts) as url:
        settings = {**SETTINGS, "SPANMETER_ENDPOINT": url}
        begun_s = time.monotonic()
        with running_collector(data_dir, settings=settings) as collector:
            listens_s = time.monotonic() - begun_s
            assert counts.wait_for(1, START_TIMEOUT_S), "nothing was sent"
            sends_s = time.monotonic() - begun_s
            assert counts.wait_for(events // 2, timeout_s), "too slow"
            first_peak_mib = _mib(collector.child.process.pid, "VmHWM")
            collector.child.kill()
        before = counts.total
        again_s = time.monotonic()
        with running_collector(data_dir, settings=settings) as collector:
            listens_again_s = time.monotonic() - again_s
            assert counts.wait_for(before + 1, START_TIMEOUT_S), "nothing was sent after the restart"
            sends_again_s = time.monotonic() - again_s
            assert eventually(lambda: not counts.missing, timeout_s=timeout_s), f"{counts.missing} never came"
            seconds = time.monotonic() - begun_s
            peak_mib = max(first_peak_mib, _mib(collector.child.process.pid, "VmHWM"))
    return BacklogFigures(
        events=events,
        file_mib=file_mib,
        listens_s=listens_s,
        sends_s=sends_s,
        listens_again_s=listens_again_s,
        sends_again_s=sends_again_s,
        idle_mib=idle_mib,
        peak_mib=peak_mib,
        seconds=seconds,
        events_a_second=events / seconds,
        missing=counts.missing,
        repeated=counts.total - events,
        latest=counts.latest,
    )


def drain_rate(folder: Path, events: int, *, in_flight: int, timeout_s: float) -> float:
    """Events a second through a service that takes 50 ms to answer, from the first that came to the last."""
    data_dir = folder / "data"
    with closing(Database.open(data_dir)) as database:
        fill(database, ((event, body_of(event)) for event in map(usage_event, range(events))))
    counts = Counts(events)
    with _counting_service(counts, latency_s=LATENCY_S) as url:
        settings = {**SETTINGS, "SPANMETER_ENDPOINT": url, "SPANMETER_BATCHES_IN_FLIGHT": str(in_flight)}
        with running_collector(data_dir, settings=settings):
            assert counts.wait_for(1, START_TIMEOUT_S), "nothing was sent"
            first, begun_s = counts.total, time.monotonic()
            assert counts.wait_for(events, timeout_s), "too slow"
            seconds = time.monotonic() - begun_s
    assert not counts.missing
    assert counts.total == events, "sent twice"
    return (events - first) / seconds


def _idle_mib(folder: Path) -> float:
    """What a collector with nothing to do takes."""
    with running_collector(folder) as collector:
        return _mib(collector.child.process.pid, "VmHWM")


def _mib(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) / 1024


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no news; a bug in here shows as events that never came."""


@contextmanager
def _counting_service(counts: Counts, *, latency_s: float = 0.0) -> Iterator[str]:
    """Takes everything and keeps only counts; `MeteringService` would keep a million events."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(latency_s)
            counts.take([int(number) for number in _NUMBER.findall(body)])
            self._answer(202, b"")

        def do_GET(self) -> None:
            self._answer(403, json.dumps({"detail": "this token may not read"}).encode())

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v3/openmeter/events"
        finally:
            server.shutdown()
            thread.join()
