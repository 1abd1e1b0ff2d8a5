"""What the demonstration runs: a collector, an endpoint and an agent, all on 127.0.0.1, and their certain end."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from spanmeter.demo.provider import LocalProvider
from spanmeter.errors import SpanmeterError

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0

_LOOK_EVERY_S: Final = 0.05
_LOG_END_CHARACTERS: Final = 2000
_PRIVATE: Final = ("KONNECT_", "SPANMETER_", "OTEL_", "OPENAI_")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY")


class Interruption:
    """Whether the process was asked to end (SIGINT, SIGTERM, SIGHUP). The signal itself interrupts nothing: it is
    acted upon where `pause` and `wait_for` look, so that nothing is half started and no end is cut short."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._number = 0

    def ask(self, number: int) -> None:
        self._number = number
        self._asked.set()

    def pause(self, seconds: float) -> None:
        """Wait. Raises `SystemExit` with the shell's status for the signal as soon as there was one."""
        if self._asked.wait(seconds):
            raise SystemExit(128 + self._number)

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Look until the condition holds or the time is over; its last answer."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= end_s:
                return condition()
            self.pause(_LOOK_EVERY_S)
        return True


@contextmanager
def watching_signals() -> Iterator[Interruption]:
    """Signals that ask for an end, until the block ends. For the main thread."""
    interruption = Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: interruption.ask(number)) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stage:
    """The running things. A context manager: at its end, whatever the reason, the processes that were started have
    ended and the temporary folder is gone. `data_dir` is inside that folder, unless it is given.
    """

    def __init__(self, interruption: Interruption, *, data_dir: Path | None = None) -> None:
        self._interruption = interruption
        self._given_data_dir = data_dir
        self._folder = Path()
        self._endings = ExitStack()
        self._collector_port = 0
        self.provider = LocalProvider()

    def __enter__(self) -> Self:
        self._folder = Path(self._endings.enter_context(tempfile.TemporaryDirectory(prefix="spanmeter-demo-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endings.close()

    @property
    def data_dir(self) -> Path:
        return self._given_data_dir or self._folder / "data"

    def start_collector(self, settings: Mapping[str, str]) -> str:
        """Run `spanmeter serve` with these settings; it takes requests on return. Its gRPC address."""
        self._collector_port, http_port = _free_port(), _free_port()
        address = f"127.0.0.1:{self._collector_port}"
        process = self._start(
            [sys.executable, "-m", "spanmeter", "serve"],
            log=self._folder / "collector.log",
            environment={
                "SPANMETER_DATA_DIR": str(self.data_dir),
                "SPANMETER_OTLP_GRPC": address,
                "SPANMETER_OTLP_HTTP": f"127.0.0.1:{http_port}",
                **settings,
            },
        )
        url = f"http://127.0.0.1:{http_port}/readyz"
        self._interruption.wait_for(lambda: process.poll() is not None or _says_yes(url), timeout_s=READY_TIMEOUT_S)
        if process.poll() is not None or not _says_yes(url):
            raise SpanmeterError(f"the collector did not get ready; the end of its log:\n{self.log_end('collector')}")
        return address

    def start_provider(self) -> str:
        """Serve the local endpoint in this process. Its URL."""
        self._endings.enter_context(self.provider)
        return self.provider.url

    def start_agent(self, tenants: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run the agent under `opentelemetry-instrument`, to call the provider and export to the collector."""
        return self._start(
            [*_instrument(), sys.executable, "-m", "spanmeter.demo.agent", *tenants],
            log=self._folder / "agent.log",
            environment={
                "OPENAI_BASE_URL": self.provider.url,
                "OTEL_SERVICE_NAME": "demo-agent",
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._collector_port}",
                "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms; the default of 5 s would send all at the end
                "SPANMETER_ENABLED": "false",  # the collector meters: the plug-in need not
            },
        )

    def log_end(self, name: str) -> str:
        """The end of what the `collector` or the `agent` wrote."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-_LOG_END_CHARACTERS:].strip()

    def _start(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - programs of ours
                command,
                env={**clean_environment(os.environ), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C in a terminal is for the demonstration, which ends them in order
            )
        self._endings.callback(_end, process)
        return process


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what could lead a child to a real account, service or proxy."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_PRIVATE)}
    return {name: value for name, value in kept.items() if name.upper() not in _PROXIES}


def _instrument() -> list[str]:
    """`opentelemetry-instrument` of this interpreter, by its script, or else by what the script calls."""
    script = Path(sys.executable).with_name("opentelemetry-instrument")
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if it does not obey."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _says_yes(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
