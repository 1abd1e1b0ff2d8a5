"""Group commit: many requests that arrive together share one fsync, and each is answered after it."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from spanmeter.clock import Clock
from spanmeter.errors import OverloadedError, StoreError
from spanmeter.logs import Complaints
from spanmeter.store.journal import EncodedFacts, Journal, JournalEntry
from spanmeter.store.space import Space
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.request import DecodedRequest

log = logging.getLogger("spanmeter.intake")

MOST_WAITING = 1_000
"""Requests that may wait for the next commit; beyond, clients are told to come again."""
MOST_TOGETHER = 200
"""Requests in one transaction: bounds how long the first of them waits."""
WINDOW_S = 0.002
"""For how long requests gather after a commit that several shared: most of what a commit costs is its fsync, and the
answer to a small request takes longer than this wherever there are many. Whoever is alone does not wait."""


def journal_entry(
    request: DecodedRequest, recogniser: Recogniser, *, received_ns: int, credential_tenant: str = ""
) -> JournalEntry:
    """What of a request is journalled: facts of the spans that may matter, links of all others.

    Raises MalformedError where a span that was not looked into yet is broken.
    """
    facts, links = recogniser.pack(
        request.spans,
        request.encoded,
        request.written,
        received_ns=received_ns,
        credential_tenant=credential_tenant,
    )
    return JournalEntry(
        received_ns=received_ns,
        facts=facts,
        links=request.links + links,
        spans=request.span_count,
        rejected=request.rejected,
    )


FAILURE_COUNTS_S = 10.0


Told = Callable[[StoreError | None], None]
"""Called once, from any thread: with None when a request is on disk, else with what failed."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: JournalEntry
    told: Told


class Intake:
    """Recognises what a request may bill and writes it to the journal. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        recogniser: Recogniser,
        clock: Clock,
        *,
        space: Space | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._space = space
        self._pause = pause
        self._failure = ""
        self._failed_s = 0.0
        self._journal = journal
        self._recogniser = recogniser
        self._clock = clock
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._complaints = Complaints(log, clock=clock)
        self._thread = threading.Thread(target=self._write, name="spanmeter-journal", daemon=True)

    @property
    def problem(self) -> str:
        """Why a commit failed just now; empty if none did, or it is a while ago: then it is worth another try."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return "the journal's thread has ended: see the log"
        return self._failure if self._clock.monotonic() - self._failed_s < FAILURE_COUNTS_S else ""

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: DecodedRequest, told: Told, *, credential_tenant: str = "") -> None:
        """Queue what matters of a request. `told` is called when it is on disk (fsync), or could not be written.

        A request without any sign of an LLM call or tenant is journalled too: its links may join others' spans.
        Raises `OverloadedError` if too much is waiting already, or `stop` was called.
        """
        entry = journal_entry(
            request, self._recogniser, received_ns=self._clock.now_ns(), credential_tenant=credential_tenant
        )
        if not entry.spans:
            told(None)
            return
        if self._closed or self._queue.qsize() >= MOST_WAITING:
            raise OverloadedError("the journal cannot keep up", hint="send again in a second")
        # While facts are at hand: the queue then holds bytes, and the thread that writes has less to take turns for.
        self._queue.put(_Waiting(replace(entry, facts=EncodedFacts(entry.facts)), told))

    def stop(self, timeout_s: float) -> None:
        """Refuse new requests, write those that wait, end the thread."""
        self._closed = True
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _write(self) -> None:
        while together := self._take():
            self._commit(together)
            if len(together) > 1:
                self._pause(WINDOW_S)

    def _commit(self, together: "list[_Waiting]") -> None:
        try:
            if self._space is not None:
                self._space.check()
            self._journal.append([waiting.entry for waiting in together])
        except StoreError as error:
            self._failure, self._failed_s = error.message, self._clock.monotonic()
            self._complaints.tell(logging.ERROR, "%s; nothing was acknowledged (%s)", error, error.hint or "-")
            for waiting in together:
                _tell(waiting, error)
        except Exception as error:  # noqa: BLE001 - the thread must live, and nothing was acknowledged
            if len(together) > 1:  # one request of a kind never seen must not keep the others out
                for waiting in together:
                    self._commit([waiting])
                return
            self._failure, self._failed_s = f"journal: {type(error).__name__}", self._clock.monotonic()
            self._complaints.tell(logging.ERROR, "journal: nothing was acknowledged", error=error)
            for waiting in together:
                _tell(waiting, StoreError(f"journal: {type(error).__name__}"))
        else:
            self._failure = ""
            for waiting in together:
                _tell(waiting)

    def _take(self) -> list[_Waiting]:
        """All that waits now, at least one; nothing once stopped and empty."""
        first = self._queue.get()
        if first is None:
            return []
        together = [first]
        while len(together) < MOST_TOGETHER:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                self._queue.put(None)
                break
            together.append(waiting)
        return together


def _tell(waiting: _Waiting, error: StoreError | None = None) -> None:
    """Tell whoever waits, who may have gone: that must not end the thread."""
    try:
        waiting.told(error)
    except Exception:  # noqa: BLE001
        log.debug("nobody waited any more")
