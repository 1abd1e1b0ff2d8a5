"""Recorded files, recognised."""

from collections.abc import Iterable, Iterator

from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.pipeline.intake import journal_entry
from spanmeter.settings import Settings
from spanmeter.store.journal import JournalEntry
from spanmeter.wire.files import Piece, decode_piece, placed


def recorded_entries(pieces: Iterable[Piece], settings: Settings, *, received_ns: int) -> Iterator[JournalEntry]:
    """What of each request would be journalled."""
    recogniser = configured_recogniser(settings)
    vocabulary = recogniser.vocabulary()
    for piece in pieces:
        request = decode_piece(piece, vocabulary)
        with placed(piece):
            entry = journal_entry(request, recogniser, received_ns=received_ns)
        yield entry
