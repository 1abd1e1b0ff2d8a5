"""Power cuts at the moment of each acknowledgement, on a disk that forgets what was not fsynced."""

import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import grpc

from spanmeter.store.database import FILE_NAME, JOURNAL_NAME, Database
from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.collector import serve_settings
from tests.acceptance.requests import PROTOBUF, call_request
from tests.crash.clients import EXPORT, SEND_TIMEOUT_S
from tests.crash.disk import Disk, Image
from tests.crash.strace import SYNCS, WRITES, SystemCall, read_calls, traced
from tests.crash.trial import SETTINGS
from tests.crash.wire import acknowledgements

WAL_NAME = f"{JOURNAL_NAME}-wal"
"""Where what is acknowledged has to be."""
FILES = tuple(f"{name}{end}" for name in (FILE_NAME, JOURNAL_NAME) for end in ("", "-wal"))
MOST_MOMENTS = 200
"""At which the power is cut, evenly among the acknowledgements: each opens the whole database twice."""
SENDERS = 2
"""Threads for each protocol: enough that several requests share a commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFigures:
    """`in_order` acknowledgements came after write and fsync; `checkpointed` pages went from the log into the database
    meanwhile; `cuts` are the images that were opened. `problems` says what was missing where."""

    acknowledged: int
    in_order: int
    syncs: int
    checkpointed: int
    cuts: int
    problems: list[str]


def run_power_cuts(requests: int, *, seed: int) -> PowerFigures:
    """So many requests, half by HTTP and half by gRPC, against a traced collector; then the cuts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanmeter-power-"))).resolve()
        data_dir, output = folder / "data", folder / "strace"
        service = stack.enter_context(MeteringService())
        Database.open(data_dir).close()
        before = {path.name: path.read_bytes() for path in data_dir.iterdir() if path.name in FILES}
        environment = {**serve_settings(data_dir, service=service), **SETTINGS}
        grpc_port, http_port = (
            int(environment[f"SPANMETER_OTLP_{name}"].rpartition(":")[2]) for name in ("GRPC", "HTTP")
        )
        command = [sys.executable, "-m", "spanmeter", "serve"]
        ids = [f"chatcmpl-{secrets.token_hex(14)}" for _ in range(requests)]
        with traced(command, environment=environment, log=folder / "log", ports=(grpc_port, http_port), output=output):
            _send_all(ids, grpc_port=grpc_port, http_port=http_port)
        with output.open(encoding="ascii") as lines:
            calls = read_calls(lines)
        answers = acknowledgements(calls, ids, grpc_port=grpc_port, http_port=http_port)
        assert answers.keys() == set(ids), f"{len(answers)} of {requests} answers were found"
        unordered = [response_id for response_id in ids if not _is_in_order(calls, response_id, answers[response_id])]
        problems = [f"acknowledged before write and fsync: {response_id}" for response_id in unordered]
        ordered = sorted(ids, key=lambda response_id: answers[response_id].begun)
        disk = Disk(data_dir, before, calls)
        places = range(0, requests, max(1, requests // MOST_MOMENTS))
        images = disk.cuts([answers[ordered[place]].begun for place in places], chance=random.Random(seed))
        for place, pair in zip(places, images, strict=True):
            for image in pair:
                problems += _missing(image, ordered[: place + 1], folder / "image")
    return PowerFigures(
        acknowledged=len(answers),
        in_order=len(answers) - len(unordered),
        syncs=sum(call.name in SYNCS and call.file.endswith(WAL_NAME) for call in calls),
        checkpointed=sum(
            call.name in WRITES
            and call.file.endswith((FILE_NAME, JOURNAL_NAME))
            and call.ended < answers[ordered[-1]].begun
            for call in calls
        ),
        cuts=2 * len(places),
        problems=problems,
    )


def _is_in_order(calls: Sequence[SystemCall], response_id: str, answer: SystemCall) -> bool:
    """Written to the WAL, then an fsync of the WAL begun and ended, then the answer begun."""
    needle = response_id.encode()
    wal = [call for call in calls if call.file.endswith(WAL_NAME) and call.ended < answer.begun]
    written = next((call for call in wal if call.name in WRITES and needle in call.data), None)
    return written is not None and any(call.name in SYNCS and call.begun > written.ended for call in wal)


def _missing(image: Image, ids: Sequence[str], folder: Path) -> list[str]:
    """Which of the acknowledged calls are in none of the tables that they pass."""
    image.write(folder)
    try:
        with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
            connection.execute("ATTACH ? AS apart", (str(folder / JOURNAL_NAME),))
            states = [connection.execute(f"PRAGMA {name}.integrity_check").fetchone()[0] for name in ("main", "apart")]
            rows = connection.execute("SELECT facts FROM apart.journal UNION ALL SELECT memory FROM trace").fetchall()
    except sqlite3.Error as error:
        return [f"after a power cut: {error}"]
    finally:
        shutil.rmtree(folder)
    there = b"\0".join(row for (row,) in rows)
    lost = [f"acknowledged, and gone after a power cut: {each}" for each in ids if each.encode() not in there]
    return lost + [f"after a power cut: {state}" for state in states if state != "ok"]


def _send_all(ids: Sequence[str], *, grpc_port: int, http_port: int) -> None:
    """Each request on a connection of its own. AssertionError where one is not acknowledged."""
    acknowledged: list[str] = []

    def send(send_one: Callable[[int, bytes], None], port: int, mine: Sequence[str]) -> None:
        for response_id in mine:
            send_one(port, call_request(response_id).SerializeToString())
            acknowledged.append(response_id)

    ways = [(_send_http, http_port), (_send_grpc, grpc_port)] * SENDERS
    threads = [threading.Thread(target=send, args=(*way, ids[number :: len(ways)])) for number, way in enumerate(ways)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acknowledged) == len(ids)


def _send_http(port: int, body: bytes) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=SEND_TIMEOUT_S)) as connection:
        connection.request("POST", "/v1/traces", body, {"content-type": PROTOBUF})
        assert connection.getresponse().status == 200


def _send_grpc(port: int, body: bytes) -> None:
    options = (("grpc.use_local_subchannel_pool", 1),)  # otherwise channels share a connection
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        call(body, timeout=SEND_TIMEOUT_S)
