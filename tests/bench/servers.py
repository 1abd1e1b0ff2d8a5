"""What is measured, each as a process of its own on free ports of 127.0.0.1."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from spanmeter.demo.stage import clean_environment
from spanmeter.store.database import Database
from spanmeter.store.journal import SqliteJournal
from spanmeter.store.lock import FileLock
from spanmeter.store.outbox import SqliteOutbox
from spanmeter.store.trouble import WORKER_LOCK_NAME
from tests.acceptance.child import free_port, running
from tests.acceptance.otelcol import require_otelcol
from tests.acceptance.rotel import require_rotel
from tests.bench.taking import taking_service

ROOT = Path(__file__).parents[2]

# Received, queued on disk with fsync, acknowledged; and never sent on, since its only sender waits for an hour.
_OTELCOL_CONFIG = """
extensions:
  file_storage: {{directory: "{folder}/queue", create_directory: true, fsync: true, timeout: 10s}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}", max_recv_msg_size_mib: 64}},
    http: {{endpoint: "127.0.0.1:{http}", max_request_body_size: 67108864}}}}}}
exporters:
  otlp_grpc:
    endpoint: "127.0.0.1:{nowhere}"
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 1h, max_interval: 1h, max_elapsed_time: 0}}
    sending_queue: {{enabled: true, storage: file_storage, num_consumers: 1, queue_size: 10000000}}
service:
  extensions: [file_storage]
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}
  telemetry: {{metrics: {{level: none}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server: the process whose cost counts, and where it listens. `has_settled` tells whether it is done
    with all that it acknowledged; None where that is all it does."""

    pid: int
    ports: Mapping[str, int]
    has_settled: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A kind of server. `start` takes a folder of its own; it raises pytest's skip where this machine has none."""

    name: str
    start: Callable[[Path], AbstractContextManager[Server]]
    is_durable: bool = False


def spanmeter(name: str, root: Path, *, assembles: bool, settings: Mapping[str, str] | None = None) -> Contestant:
    """`spanmeter serve` as it stands in `root`. Without `assembles`, the lock that assembly needs is held by another:
    what is left is the way from the wire to the acknowledgement. With it, events go to a service that takes them."""

    @contextmanager
    def start(folder: Path) -> Iterator[Server]:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)  # a second of large requests is gigabytes
            if not assembles:
                yield stack.enter_context(serving(folder, root=root, assembles=False, settings=settings))
                return
            endpoint = {"SPANMETER_ENDPOINT": stack.enter_context(taking_service())}
            server = stack.enter_context(serving(folder, root=root, settings={**endpoint, **(settings or {})}))
            database = stack.enter_context(closing(Database.open(folder)))
            journal, outbox = SqliteJournal(database), SqliteOutbox(database)
            yield replace(server, has_settled=lambda: not journal.depth() and not outbox.depth())

    return Contestant(name=name, start=start, is_durable=True)


@contextmanager
def serving(
    folder: Path, *, root: Path = ROOT, assembles: bool = True, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`spanmeter serve` on this data folder, which stays."""
    grpc_port, http_port = free_port(), free_port()
    folder.mkdir(exist_ok=True)
    environment = {
        **clean_environment(os.environ),
        "PYTHONPATH": str(root / "collector"),
        "SPANMETER_DATA_DIR": str(folder),
        "SPANMETER_OTLP_GRPC": f"127.0.0.1:{grpc_port}",
        "SPANMETER_OTLP_HTTP": f"127.0.0.1:{http_port}",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "spanmeter", "serve"]
    with ExitStack() as held:
        if not assembles:
            lock = FileLock(folder / WORKER_LOCK_NAME)
            lock.acquire()
            held.callback(lock.release)
        yield held.enter_context(_served(command, environment, folder, grpc_port, http_port))


@contextmanager
def _parse_only(folder: Path) -> Iterator[Server]:
    grpc_port, http_port = free_port(), free_port()
    command = [sys.executable, "-m", "tests.bench.parse_only", str(grpc_port), str(http_port)]
    with _served(command, {**os.environ, "PYTHONPATH": str(ROOT)}, folder, grpc_port, http_port) as server:
        yield server


@contextmanager
def _rotel(folder: Path) -> Iterator[Server]:
    grpc_port, http_port = free_port(), free_port()
    command = [
        str(require_rotel()),
        "start",
        f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
        f"--otlp-http-endpoint=127.0.0.1:{http_port}",
        "--otlp-grpc-max-recv-msg-size-mib=64",
        "--exporter=blackhole",
        f"--pid-file={folder.with_suffix('.pid')}",
        f"--log-file={folder.with_suffix('.out')}",
    ]
    with _served(command, {"PATH": os.environ.get("PATH", "")}, folder, grpc_port, http_port) as server:
        yield server


@contextmanager
def _otelcol(folder: Path) -> Iterator[Server]:
    binary = require_otelcol()
    grpc_port, http_port = free_port(), free_port()
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(_OTELCOL_CONFIG.format(folder=folder, grpc=grpc_port, http=http_port, nowhere=free_port()))
    environment = {"PATH": os.environ.get("PATH", "")}
    try:
        with _served([str(binary), f"--config={config}"], environment, folder, grpc_port, http_port) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PARSE_ONLY = Contestant(name="parse only", start=_parse_only)
ROTEL = Contestant(name="rotel", start=_rotel)
OTELCOL = Contestant(name="otelcol, fsync", start=_otelcol, is_durable=True)


@contextmanager
def _served(
    command: list[str], environment: Mapping[str, str], folder: Path, grpc_port: int, http_port: int
) -> Iterator[Server]:
    log = folder.with_suffix(".log")
    with running(command, environment=environment, log=log, ports=(grpc_port, http_port)) as child:
        yield Server(pid=child.process.pid, ports={"grpc": grpc_port, "http": http_port})


@contextmanager
def revision(name: str, folder: Path) -> Iterator[Path]:
    """A working tree of another revision of this repository, until the block ends."""
    tree = folder / "revision"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), name], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)
