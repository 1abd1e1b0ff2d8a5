"""Keys of calls and ids of traces, which come at random, are filed: from an index of what is new into that of all.

What is new is small enough to be at hand. Of `A_SHARE` that were numbered, one of `SHARES` parts of all keys is filed,
in order, so that a page of the large index is written once for many of them, where each key alone would write one. Ids
that all begin alike, as those made of 64 bits do, are of one part, and filed together when it has its turn.
"""

from collections.abc import Iterator

from spanmeter.store.statements import Transaction

SHARES = 32
"""With fewer, more pages of the large index would be written for each; with more, what is new would be larger."""
A_SHARE = 4_000
_BYTES = 256 // SHARES
_LONGEST = 20


def file_keys(transaction: Transaction, of: str, first: int, last: int) -> None:
    """What is due where numbers `first` to `last` were given to new ones, `of` being "call" or "trace"."""
    for from_key, to_key in _due(first, last):
        transaction.execute(f"{of}_into_old", from_key, to_key)
        transaction.execute(f"{of}_out_of_young", from_key, to_key)


def _due(first: int, last: int) -> Iterator[tuple[bytes, bytes]]:
    """Of each part the lowest and the highest key."""
    begun = first // A_SHARE
    for share in range(begun, min(last // A_SHARE, begun + SHARES)):
        low = share % SHARES * _BYTES
        yield bytes([low]), bytes([low + _BYTES - 1]).ljust(_LONGEST, b"\xff")
