"""Ended spans to the journal on disk, off the application's threads."""

import logging
import multiprocessing
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from opentelemetry.sdk.trace import ReadableSpan

from spanmeter.errors import StoreError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import journal_entry
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.journal import JournalEntry, SqliteJournal
from spanmeter.usage.span import Captured, Span
from spanmeter.wire.request import DecodedRequest
from spanmeter.wiring import configured_events_url
from spanmeter.worker import Worker
from spanmeter_instrumentation.complaints import announce, complain
from spanmeter_instrumentation.ended import Ended, EndedSpan, Snapshot
from spanmeter_instrumentation.quiet import quiet_thread, quietly
from spanmeter_instrumentation.sight import Sight

MOST_WAITING = 100_000
"""Spans that may wait for a disk that cannot be written; beyond, the host's memory goes first: more are lost."""
SPANS_AT_ONCE = 20
RETRY_S = 1.0
FORK_WAIT_S = 1.0
"""Longest time that a fork waits for the disk. Usually it waits for one fsync at most."""


class Recorder:
    """Journals every ended span within SPANMETER_FLUSH_MS (0: before `take` returns), then assembles and delivers in
    the background.

    Nothing is opened and no thread started before the first span has ended; a forked child starts anew at its first.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.delivers:
            configured_events_url(settings)  # raises SettingsError: here, where somebody is listening
        self.settings = settings
        self.sight = Sight()
        self._recogniser = configured_recogniser(settings)
        self.snapshot = Snapshot(self._recogniser.vocabulary())
        self._run: _Run | None = None
        self._finished = False
        self._may_fork = True
        self._forbidden = False
        self._told = False
        # A span may end while this thread is inside: in a finaliser that the garbage collector runs.
        self._begin_lock = threading.RLock()

    def take(self, ended: Ended) -> None:
        """Waits for the disk only where SPANMETER_FLUSH_MS is 0, and in children of multiprocessing; safe in signal
        handlers and finalisers."""
        run = self._run or self._begin()
        if run is None:
            return
        waiting = run.waiting
        if len(waiting) >= MOST_WAITING:
            complain(f"SPANS ARE LOST: {MOST_WAITING} wait for a disk that cannot be written")
            return
        waiting.append(ended)
        if run.at_once or self._finished or (run.may_be_cut_off and isinstance(ended, EndedSpan)):
            if not run.write():
                run.ring()
        elif not run.rung:
            run.ring()

    def take_span(self, span: ReadableSpan, captured: Captured) -> None:
        """Takes a span that did not come by the SDK's classes. It must have a name and ids of its own."""
        ended = self.snapshot.of(
            span, span.attributes or {}, context=span.context, parent=span.parent, captured=captured
        )
        if ended is not None:
            self.take(ended)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Everything that has ended is on disk when this returns true."""
        run = self._run
        return run is None or run.write(timeout_s)

    def finish(self) -> None:
        """Write, decide what is whole, send: for SPANMETER_SHUTDOWN_S in all; the rest waits on disk. Spans that end
        later are still written, at once. Idempotent."""
        if self._finished:
            return
        self._finished = True
        if self._run is not None:
            with quietly():
                self._run.finish(time.monotonic() + self.settings.shutdown_s)

    def before_fork(self) -> None:
        self._may_fork = self._run is None or self._run.before_fork(FORK_WAIT_S)

    def after_fork(self) -> None:
        if self._run is not None:
            self._run.after_fork()

    def after_fork_in_child(self) -> None:
        """As new: threads are gone, locks stay locked, and the parent writes its own spans."""
        self._begin_lock = threading.RLock()
        self._run = None
        self._forbidden = not self._may_fork

    def _begin(self) -> "_Run | None":
        with self._begin_lock:
            if self._run is None and not self._forbidden:
                self._run = _Run(self.settings, self._entries, self.sight)
                if not self._finished:
                    self._run.start()
            elif self._forbidden and not self._told:
                self._told = True
                announce(
                    logging.ERROR,
                    "NOTHING IS METERED in this process: when it was forked, %s had not answered for %d s",
                    self.settings.data_dir,
                    FORK_WAIT_S,
                )
            return self._run

    def _entries(self, spans: list[Ended]) -> Iterator[JournalEntry]:
        """A few spans at a time, and the interpreter let go of in between: the application's threads want it too. Where
        they are busy, each time may cost the interpreter's switch interval: so only while there is time."""
        until_s = time.monotonic() + self.settings.flush_ms / 10_000
        for first in range(0, len(spans), SPANS_AT_ONCE):
            yield self._entry(spans[first : first + SPANS_AT_ONCE])
            if time.monotonic() < until_s:
                time.sleep(0)

    def _entry(self, spans: list[Ended]) -> JournalEntry:
        found: list[Span] = []
        links = []
        for ended in spans:
            if isinstance(ended, EndedSpan):
                found.append(self.snapshot.neutral(ended))
            else:
                links.append(ended)
        request = DecodedRequest(spans=found, links=b"".join(links), span_count=len(spans))
        return journal_entry(request, self._recogniser, received_ns=time.time_ns())


class _Run:
    """What one process has, from its first span on: the spans that wait, the thread that writes them, the file."""

    def __init__(
        self, settings: Settings, entries: Callable[[list[Ended]], Iterator[JournalEntry]], sight: Sight
    ) -> None:
        self._settings = settings
        self._entries = entries
        self._sight = sight
        self.at_once = settings.flush_ms == 0
        # `with Pool() as pool:` sends its workers SIGTERM as soon as they have answered: nothing runs in them after.
        self.may_be_cut_off = multiprocessing.parent_process() is not None
        self.waiting: deque[Ended] = deque()
        self.rung = False
        # queue.SimpleQueue and deque: `put` and `append` may be interrupted by themselves, a lock may not.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._write_lock = threading.Lock()
        self._writer = 0
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._journal: SqliteJournal | None = None
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._forking = False

    def start(self) -> None:
        try:
            thread = quiet_thread(target=self._loop, name="spanmeter-journal", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError:  # the interpreter is shutting down: no more threads
            self.at_once = True

    def ring(self) -> None:
        self.rung = True
        self._bell.put(None)

    def write(self, timeout_s: float = -1) -> bool:
        """Journal what waits; true if all of it is on disk."""
        if self._writer == threading.get_ident():
            return False  # a span that ended inside our own writing, in a finaliser: it is written next
        if not self._write_lock.acquire(timeout=timeout_s):
            return False
        try:
            self._writer = threading.get_ident()
            with quietly():
                if self.waiting and not self._write_some():
                    return False
                self._work()
            return True
        except Exception as error:  # the edge: a guest does not break its host, and what waits is tried again
            complain("spans wait in memory", error)
            return False
        finally:
            self._writer = 0
            self._write_lock.release()

    def _write_some(self) -> bool:
        spans = list(self.waiting)
        try:
            self._append(spans)
        except StoreError as error:
            complain(f"spans wait in memory: {error}")
            return False
        except Exception as error:
            if len(spans) > 1:
                self._write_apart(spans)
            else:
                complain("a span was not metered", error)
        for _ in spans:
            self.waiting.popleft()
        return True

    def _write_apart(self, spans: list[Ended]) -> None:
        for span in spans:
            try:
                self._append([span])
            except Exception as error:  # one span of a kind never seen must not keep the others out
                complain("a span was not metered", error)

    def _append(self, spans: list[Ended]) -> None:
        entries = list(self._entries(spans))
        if self._journal is None or self._database is None:
            with self._opening:
                self._database = Database.open(self._settings.data_dir)
                self._journal = SqliteJournal(self._database)
        self._journal.append(entries)
        for entry in entries:
            self._sight.note(entry.facts, self._database)

    def _work(self) -> None:
        """After the first write, which it would hold up: assembly and delivery, if nobody else does them.

        A process may end before its first span was written: then `finish` does the work, without threads.
        """
        if self._worker is None and self._database is not None:
            self._worker = Worker(self._settings, self._database, make_thread=quiet_thread)
            if not self._stopped.is_set():
                self._worker.start()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._bell.get()
            if not self.at_once and self._journal is not None:
                # Let a few more spans end: one fsync for all of them. Most of the time is for the write itself, on a
                # busy machine; the first one opens the file besides.
                self._stopped.wait(self._settings.flush_ms / 10_000)
            self.rung = False
            while not self.write() and not self._stopped.wait(RETRY_S):
                pass

    def finish(self, until_s: float) -> None:
        self._stopped.set()
        self._bell.put(None)
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))
        self.write(max(0.0, until_s - time.monotonic()))
        if self._worker is not None:
            self._worker.stop(close=True, timeout_s=max(0.0, until_s - time.monotonic()))
        # A daemon thread may still be ending spans, and writing them itself by now.
        if self._database is not None and self._write_lock.acquire(timeout=max(0.1, until_s - time.monotonic())):
            self._database.close()
            self._write_lock.release()

    def before_fork(self, timeout_s: float) -> bool:
        """Whether a child may use the file: nobody was in it, and it is closed."""
        self._forking = self._opening.acquire(timeout=timeout_s)
        return self._forking and (self._database is None or self._database.before_fork(timeout_s))

    def after_fork(self) -> None:
        if self._forking:
            if self._database is not None:
                self._database.after_fork()
            self._opening.release()
