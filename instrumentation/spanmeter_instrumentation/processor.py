"""The span processor: ended spans to the journal on disk, off the application's threads."""

import logging
import multiprocessing.util
import os
import threading
import time
from collections import deque

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from spanmeter.errors import StoreError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import journal_entry
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.journal import JournalEntry, SqliteJournal
from spanmeter.usage.span import NOTHING_CAPTURED, Captured
from spanmeter.wire.request import DecodedRequest
from spanmeter.worker import Worker, configured_events_url
from spanmeter_instrumentation.context import OpenSpans
from spanmeter_instrumentation.readable import neutral_span
from spanmeter_instrumentation.sight import Sight

log = logging.getLogger("spanmeter.plugin")

MOST_WAITING = 100_000
"""Spans that may wait for a disk that cannot be written; beyond, the host's memory goes first: more are lost."""
RETRY_S = 1.0


class MeteringProcessor(SpanProcessor):
    """Journals every ended span within SPANMETER_FLUSH_MS (0: before `on_end` returns), then assembles and delivers in
    the background.

    Nothing is opened and no thread started before the first span has ended; a forked child starts anew at its first.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.delivers:
            configured_events_url(settings)  # raises SettingsError: here, where somebody is listening
        self.settings = settings
        self._recogniser = configured_recogniser(settings)
        self._vocabulary = self._recogniser.vocabulary()
        self._open_spans = OpenSpans()
        self.sight = Sight()
        self._reset()
        # Children of multiprocessing end by os._exit: no atexit, and nobody shuts the tracer provider down.
        multiprocessing.util.register_after_fork(self, MeteringProcessor._finish_with_child)
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._reset_in_child
        )

    def _finish_with_child(self) -> None:
        multiprocessing.util.Finalize(self, self.shutdown, exitpriority=100)

    def _before_fork(self) -> None:
        self._write_lock.acquire()
        if self._database is not None:
            self._database.before_fork()

    def _after_fork(self) -> None:
        if self._database is not None:
            self._database.after_fork()
        self._write_lock.release()

    def _reset_in_child(self) -> None:
        stopped = self._stop.is_set()
        self._reset()
        if stopped:
            self._stop.set()

    def _reset(self) -> None:
        """As new: in a forked child threads are gone, locks stay locked, and the parent writes its own spans."""
        self._waiting: deque[tuple[ReadableSpan, Captured]] = deque()
        self._start_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._started = False
        self._full_told = False
        self._failed_told_s = 0.0
        self._database: Database | None = None
        self._journal: SqliteJournal | None = None
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remembers what is bound in code and in baggage: at the span's end it may be gone."""
        try:
            self._open_spans.started(span, parent_context)
        except Exception:  # a guest does not break its host
            log.exception("what is bound was not read")

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span that has ended, with what was captured at its start; never raises."""
        try:
            captured = self._open_spans.ended(span)
        except Exception:  # a guest does not break its host
            log.exception("what was bound is not known")
            captured = NOTHING_CAPTURED
        self.take(span, captured)

    def take(self, span: ReadableSpan, captured: Captured) -> None:
        """Takes a span; never raises, never waits for the disk unless SPANMETER_FLUSH_MS is 0."""
        try:
            if len(self._waiting) >= MOST_WAITING:
                if not self._full_told:
                    self._full_told = True
                    log.error("SPANS ARE LOST: %d wait for a disk that cannot be written", MOST_WAITING)
                return
            self._waiting.append((span, captured))
            if not self._started:
                self._start()
            if self.settings.flush_ms > 0 or not self._write():
                self._wake.set()
        except Exception:  # a guest does not break its host
            log.exception("a span was not metered")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Everything that has ended is on disk when this returns true."""
        try:
            self._write()
        except Exception:  # a guest does not break its host
            log.exception("flush")
        return not self._waiting

    def shutdown(self) -> None:
        """Write, decide what is whole, send for at most SPANMETER_SHUTDOWN_S; the rest waits on disk."""
        if not self._started or self._stop.is_set():
            return
        try:
            self._stop.set()
            self._wake.set()
            if self._thread is not None:
                self._thread.join(self.settings.shutdown_s)
            self._write()
            if self._worker is not None:
                self._worker.stop(close=True, timeout_s=self.settings.shutdown_s)
            if self._database is not None:
                self._database.close()
        except Exception:  # a guest does not break its host
            log.exception("shutdown")

    def _start(self) -> None:
        with self._start_lock:
            if self._started:
                return
            self._started = True
            self._thread = threading.Thread(target=self._run, name="spanmeter-journal", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            # Let a few more spans end: one fsync for all of them. Half the time is for the fsync itself.
            self._stop.wait(self.settings.flush_ms / 2000)
            self._wake.clear()
            try:
                written = self._write()
            except Exception:  # the thread's edge: what waits is tried again
                log.exception("spans wait in memory")
                written = False
            if not written:
                self._stop.wait(RETRY_S)
                self._wake.set()

    def _write(self) -> bool:
        """Journal what waits; true if all of it is on disk."""
        with self._write_lock:
            spans = list(self._waiting)
            if not spans:
                return True
            try:
                self._open()
                assert self._journal is not None
                entry = self._entry(spans)
                self._journal.append([entry])
                assert self._database is not None
                self.sight.note(entry.facts, self._database)
            except StoreError as error:
                if time.monotonic() - self._failed_told_s > 60:
                    self._failed_told_s = time.monotonic()
                    log.error("%d spans wait in memory: %s", len(spans), error)
                return False
            except Exception:
                if len(spans) > 1:
                    self._write_apart(spans)
                else:
                    log.exception("a span was not metered")
            for _ in spans:
                self._waiting.popleft()
            return True

    def _entry(self, spans: list[tuple[ReadableSpan, Captured]]) -> JournalEntry:
        found = [neutral for span in spans if (neutral := neutral_span(*span, self._vocabulary)) is not None]
        request = DecodedRequest(spans=found, span_count=len(found))
        return journal_entry(request, self._recogniser, received_ns=time.time_ns())

    def _write_apart(self, spans: list[tuple[ReadableSpan, Captured]]) -> None:
        assert self._journal is not None
        for span in spans:
            try:
                self._journal.append([self._entry([span])])
            except Exception:  # a guest does not break its host
                log.exception("a span was not metered")

    def _open(self) -> None:
        if self._database is None:
            self._database = Database.open(self.settings.data_dir)
            self._journal = SqliteJournal(self._database)
        if self._worker is None:
            self._worker = Worker(self.settings, self._database)
            # A process may end before its first span was written: then `shutdown` does the work, without threads.
            if not self._stop.is_set():
                self._worker.start()
