"""Recorded files, recognised on several cores."""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import msgspec

from spanmeter.errors import MalformedError, SpanmeterError
from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import journal_entry
from spanmeter.settings import Settings
from spanmeter.store.journal import JournalEntry
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.files import Piece, decode_piece, placed

BYTES_AT_ONCE = 1 << 20
"""What a core is given at a time: enough to be worth the way, and little enough that few wait in memory."""
AHEAD = 3
"""So many of those are on their way for each core."""

_Found = tuple[bytes, str, str | None]
"""Encoded entries; or the message and hint of a MalformedError, which cannot travel between processes as it is."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[JournalEntry])


def entries_on_cores(
    pieces: Iterable[Piece], settings: Settings, *, received_ns: int, jobs: int
) -> Iterator[JournalEntry]:
    """What `recorded_entries` gives, in the same order; so many processes decode and recognise. What one has ready
    before its turn waits."""
    # A fork costs nothing and this process has no threads; elsewhere than on Linux, libraries do not survive one.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (settings, received_ns)) as cores:
        on_the_way: deque[Future[_Found]] = deque()
        faults: list[SpanmeterError] = []
        try:
            for together in _together(pieces, faults):
                on_the_way.append(cores.submit(_recognised, together))
                while len(on_the_way) > AHEAD * jobs:
                    yield from _taken(on_the_way.popleft())
            while on_the_way:
                yield from _taken(on_the_way.popleft())
            if faults:
                raise faults[0]
        except BrokenProcessPool:
            raise SpanmeterError("one of the processes that recognise was ended", hint="--jobs 1 needs none") from None
        finally:
            for future in on_the_way:
                future.cancel()


def _together(pieces: Iterable[Piece], faults: list[SpanmeterError]) -> Iterator[list[Piece]]:
    """A fault of `pieces` ends them, and goes to `faults`: it comes after what is broken further in front."""
    together: list[Piece] = []
    size = 0
    try:
        for piece in pieces:
            together.append(piece)
            size += len(piece.body)
            if size >= BYTES_AT_ONCE:
                yield together
                together, size = [], 0
    except SpanmeterError as error:
        faults.append(error)
    if together:
        yield together


def _taken(future: "Future[_Found]") -> list[JournalEntry]:
    encoded, fault, hint = future.result()
    if fault:
        raise MalformedError(fault, hint=hint)
    return _decoder.decode(encoded)


class _Core:
    """What a process that recognises has of its own."""

    recogniser: Recogniser
    received_ns: int


def _begin(settings: Settings, received_ns: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted is the command, and it ends the others
    _Core.recogniser, _Core.received_ns = configured_recogniser(settings), received_ns


def _recognised(pieces: Sequence[Piece]) -> _Found:
    recogniser, vocabulary = _Core.recogniser, _Core.recogniser.vocabulary()
    entries = []
    try:
        for piece in pieces:
            request = decode_piece(piece, vocabulary)
            with placed(piece):
                entry = journal_entry(request, recogniser, received_ns=_Core.received_ns)
            entries.append(replace(entry, facts=list(entry.facts)))
    except MalformedError as error:
        return b"", error.message, error.hint
    return _encoder.encode(entries), "", None
