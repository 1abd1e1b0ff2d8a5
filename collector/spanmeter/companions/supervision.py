"""A companion as the service sees it: started, heard, followed by another when it ends by itself, stopped."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from spanmeter.companions.messages import Failure, GoneError, Line, Stop
from spanmeter.errors import SpanmeterError
from spanmeter.settings import Settings

log = logging.getLogger("spanmeter.companions")

LOOK_EVERY_S = 0.5
START_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Between the end of a companion and the next: twice as long each time, and from the beginning again after one that
lived for longer than this."""
KILL_AFTER_S = 2.0
"""A companion that has not ended so long after its grace is killed; what it did not acknowledge is sent again."""


class Companion:
    """One further process at a time. `spawn`, then `start` and `wait_until_ready`, then `stop`, also after an error."""

    def __init__(self, *, told: Callable[[], str]) -> None:
        """`told` is what keeps the service from taking requests: what its companions' /readyz say too."""
        self._told = told
        self._settings: Settings | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""
        self._ready: Future[None] = Future()
        self._stopping = threading.Event()
        self._change = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="spanmeter-companion", daemon=True)

    @property
    def problem(self) -> str:
        """What keeps it from taking requests, empty if nothing does, or it is not there to get any."""
        return self._problem

    def spawn(self) -> None:
        """Start the process, which loads what it needs and then waits for its settings. Raises OSError."""
        ours, theirs = Line.pair()
        with theirs.connection as inherited:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                # -P and the path: it finds what this process found.
                [sys.executable, "-P", "-m", "spanmeter.companions", str(inherited.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(part or os.curdir for part in sys.path)},
                pass_fds=(inherited.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C reaches the service alone, which stops this one
            )
        self._line = ours

    def start(self, settings: Settings) -> None:
        """Have it receive as `settings` say, from now on."""
        self._settings = settings
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Until it listens. Raises `SpanmeterError` where it cannot."""
        try:
            self._ready.result(START_TIMEOUT_S)
        except TimeoutError:
            raise SpanmeterError(f"a receiving process is not ready after {START_TIMEOUT_S:g} s") from None

    def stop(self, grace_s: float) -> None:
        """Have it answer what is in flight, and end it."""
        with self._change:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        if self._settings is None:
            process.kill()
        with suppress(GoneError):
            self._line.say(Stop(grace_s=grace_s))
        _wait_for_end(process, grace_s + KILL_AFTER_S)
        if self._thread.ident is not None:
            self._thread.join(LOOK_EVERY_S)
        self._line.connection.close()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        begun_s = time.monotonic()
        failure = self._attend()
        if not self._ready.done():
            self._ready.set_exception(SpanmeterError(failure.message, hint=failure.hint))
            return
        while not self._stopping.is_set():
            if time.monotonic() - begun_s > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            log.error("%s; another starts in %g s", failure.message, pause_s, extra={"hint": failure.hint})
            if self._stopping.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            begun_s = time.monotonic()
            failure = self._follow()

    def _follow(self) -> Failure:
        """Have another process in the place of one that has ended; why it ended, too."""
        with self._change:
            if self._stopping.is_set():
                return Failure(message="stopping", hint=None)
            try:
                self.spawn()
            except OSError as error:
                return Failure(message=f"a receiving process cannot be started: {error.strerror}", hint=None)
        return self._attend()

    def _attend(self) -> Failure:
        """Tell it what it should know and hear what it says, until it ends; and why it did."""
        assert self._process is not None
        failure: Failure | None = None
        told: str | None = None
        try:
            self._line.say(self._settings)
            while True:
                if self._ready.done() and (problem := self._told()) != told:
                    self._line.say(problem)
                    told = problem
                if not self._line.has_news(LOOK_EVERY_S):
                    continue
                heard = self._line.hear()
                if isinstance(heard, Failure):
                    failure = heard
                    continue
                self._problem = str(heard)
                if not self._ready.done():
                    self._ready.set_result(None)
        except GoneError:
            self._problem = ""
        code = _wait_for_end(self._process, KILL_AFTER_S)
        return failure or Failure(message=f"a receiving process has ended by {_cause(code)}", hint=None)


def _wait_for_end(process: "subprocess.Popen[bytes]", timeout_s: float) -> int:
    """By force when the time is over. The exit status."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _cause(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"
    except ValueError:
        return f"signal {-code}"
