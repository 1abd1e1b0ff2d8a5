"""Recorded files, recognised on several cores."""

import mmap
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
from spanmeter.store.journal import decoded as unpack
from spanmeter.store.journal import encoded as pack
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.files import Piece, decode_piece, placed
from spanmeter.wire.parts import PART_BYTES

BYTES_AT_ONCE = 1 << 20
"""What a core is given at a time: enough to be worth the way, and little enough that few wait in memory."""
AHEAD = 3
"""So many of those are on their way for each core."""
SLOT_BYTES = BYTES_AT_ONCE + PART_BYTES
"""More than that is sent: a JSON document may be so large."""

_Found = tuple[bytes, str, str | None]
"""Encoded entries; or the message and hint of a MalformedError, which cannot travel between processes as it is."""

_Packed = tuple[int, bytes, bytes, int, int]
"""An entry, with its facts as they stand in the journal."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Packed])


def entries_on_cores(
    pieces: Iterable[Piece], settings: Settings, *, received_ns: int, jobs: int
) -> Iterator[JournalEntry]:
    """What `recorded_entries` gives, in the same order; so many processes decode and recognise. What one has ready
    before its turn waits."""
    # A fork costs nothing and this process has no threads; elsewhere than on Linux, libraries do not survive one.
    forks = sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forks else "spawn")
    slots = _Slots(AHEAD * jobs + 1 if forks else 0)
    with ProcessPoolExecutor(jobs, context, _begin, (settings, received_ns, slots)) as cores:
        on_the_way: deque[tuple[Future[_Found], int | None]] = deque()
        faults: list[SpanmeterError] = []

        def taken() -> list[JournalEntry]:
            future, slot = on_the_way.popleft()
            entries = _entries(future)
            if slot is not None:
                slots.free(slot)
            return entries

        try:
            for together in _together(pieces, faults):
                slot = slots.put([piece.body for piece in together])
                given = together if slot is None else [replace(piece, body=b"") for piece in together]
                sizes = [len(piece.body) for piece in together]
                on_the_way.append((cores.submit(_recognised, given, slot, sizes), slot))
                while len(on_the_way) > AHEAD * jobs:
                    yield from taken()
            while on_the_way:
                yield from taken()
            if faults:
                raise faults[0]
        except BrokenProcessPool:
            raise SpanmeterError("one of the processes that recognise was ended", hint="--jobs 1 needs none") from None
        finally:
            for future, _ in on_the_way:
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


def _entries(future: "Future[_Found]") -> list[JournalEntry]:
    encoded, fault, hint = future.result()
    if fault:
        raise MalformedError(fault, hint=hint)
    return [
        JournalEntry(received_ns=received_ns, facts=unpack(facts), links=links, spans=spans, rejected=rejected)
        for received_ns, facts, links, spans, rejected in _decoder.decode(encoded)
    ]


class _Slots:
    """Memory that a process has in common with those that it forks: what is put there need not be sent, which takes
    longer than to recognise spans with texts. Pages that nothing was put into take none."""

    def __init__(self, number: int) -> None:
        self._free: list[int] = [*range(number)]
        self._memory = mmap.mmap(-1, number * SLOT_BYTES) if number else None

    def put(self, bodies: Sequence[bytes]) -> int | None:
        """Where they lie now, one behind the other; None where there is no room for them."""
        if self._memory is None or not self._free or sum(map(len, bodies)) > SLOT_BYTES:
            return None
        slot = self._free.pop()
        at = slot * SLOT_BYTES
        for body in bodies:
            self._memory[at : at + len(body)] = body
            at += len(body)
        return slot

    def bodies(self, slot: int, sizes: Sequence[int]) -> Iterator[bytes]:
        """What was put there, of these sizes."""
        assert self._memory is not None
        at = slot * SLOT_BYTES
        for size in sizes:
            yield self._memory[at : at + size]
            at += size

    def free(self, slot: int) -> None:
        self._free.append(slot)


class _Core:
    """What a process that recognises has of its own, and the slots."""

    recogniser: Recogniser
    received_ns: int
    slots: _Slots


def _begin(settings: Settings, received_ns: int, slots: _Slots) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted is the command, and it ends the others
    _Core.recogniser, _Core.received_ns, _Core.slots = configured_recogniser(settings), received_ns, slots


def _recognised(pieces: Sequence[Piece], slot: int | None, sizes: Sequence[int]) -> _Found:
    """`pieces` are without their bodies where these lie in a slot."""
    recogniser, vocabulary = _Core.recogniser, _Core.recogniser.vocabulary()
    if slot is not None:
        bodies = _Core.slots.bodies(slot, sizes)
        pieces = [replace(piece, body=body) for piece, body in zip(pieces, bodies, strict=True)]
    entries: list[_Packed] = []
    try:
        for piece in pieces:
            request = decode_piece(piece, vocabulary)
            with placed(piece):
                entry = journal_entry(request, recogniser, received_ns=_Core.received_ns)
            entries.append((entry.received_ns, pack(entry.facts), entry.links, entry.spans, entry.rejected))
    except MalformedError as error:
        return b"", error.message, error.hint
    return _encoder.encode(entries), "", None
