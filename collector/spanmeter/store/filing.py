"""Keys of calls and ids of traces, which come at random, are filed: from an index of what is new into that of all.

What is new is small enough to be at hand. Whenever `A_SHARE` were numbered, one part of all keys is filed, in order, so
that a page of the large index is written once for many of them, where each key alone would write one. Ids that all
begin alike, as those made of 64 bits do, are of one part, and filed together when it has its turn.
"""

from collections.abc import Iterator

from spanmeter.store.statements import Transaction

A_SHARE = 4_000
FEWEST_SHARES, MOST_SHARES = 8, 64
KEYS_BY_SQUARE = 1_500
"""So many keys in all, times the square of the parts, are the most for as many parts. The more parts, the larger is
what is new, whose pages every round writes, and the fewer pages of the large index are written for one: so both cost
the same."""
_LONGEST = 20


def file_keys(transaction: Transaction, of: str, first: int, last: int) -> None:
    """What is due where numbers `first` to `last` were given to new ones, `of` being "call" or "trace"."""
    for from_key, to_key in _due(first, last):
        transaction.execute(f"{of}_into_old", from_key, to_key)
        transaction.execute(f"{of}_out_of_young", from_key, to_key)


def _due(first: int, last: int) -> Iterator[tuple[bytes, bytes]]:
    """Of each part the lowest and the highest key."""
    begun, shares = first // A_SHARE, shares_of(first)
    for share in range(begun, min(last // A_SHARE, begun + shares)):
        bytes_ = 256 // shares
        low = share % shares * bytes_
        yield bytes([low]), bytes([low + bytes_ - 1]).ljust(_LONGEST, b"\xff")


def shares_of(number: int) -> int:
    """Into how many parts, where so many keys were numbered: a power of two, as the first byte tells them apart."""
    shares = FEWEST_SHARES
    while shares < MOST_SHARES and KEYS_BY_SQUARE * shares**2 < number:
        shares *= 2
    return shares
