"""Which spans are of interest, in the forms that decoders test it in."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spanmeter.usage.span import Vocabulary
from spanmeter.wire.attributes import AttributeReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """A vocabulary, prepared.

    `keys` make a span interesting: those that contain a marker. The vocabulary's others (`service.name`) are kept
    where they are found, and alone are no reason to keep a span. `pattern` matches somewhere in the protobuf form of
    every span with one of `keys`, and of few others; `written` matches how they begin in JSON. `reader` reads
    attributes with any of the keys, on spans and on resources.
    """

    keys: frozenset[str]
    pattern: re.Pattern[bytes]
    written: re.Pattern[bytes]
    reader: AttributeReader


@lru_cache(maxsize=8)
def interest_of(vocabulary: Vocabulary) -> Interest:
    starts = {
        key[: min(key.index(marker) + len(marker) for marker in vocabulary.markers if marker in key)]
        for key in vocabulary.keys
        if any(marker in key for marker in vocabulary.markers)
    }
    return Interest(
        keys=frozenset(key for key in vocabulary.keys if any(marker in key for marker in vocabulary.markers)),
        pattern=_pattern({start.encode() for start in starts}),
        written=re.compile(b'"' + _any_of(start.encode() for start in starts)),
        reader=AttributeReader(vocabulary.keys),
    )


def _pattern(starts: set[bytes]) -> re.Pattern[bytes]:
    r"""Finds the beginnings of keys as protobuf writes them in a span's attributes: field 9 (`J`) with a length, in it
    field 1 with a length (`\n`), the key. An attribute that begins with its value (`\x12`) could have any key.

    Measured on HTTP spans: 0.9 ns a byte for any number of keys, since `re` runs from one `J` to the next, of which
    there are half as many as of `\n`; searching for one marker after another costs 0.4 ns a byte for each. What costs
    is to try alternatives, so that most keys are told by their first bytes, of which there is one set, or the second,
    of which there is another: what begins as one key and goes on as another is found, too.
    """
    if not starts:
        return re.compile(rb"(?!)")
    length = rb"[\x80-\xff]*+."
    long = [start for start in starts if len(start) > 2]
    keys = [_set_of(long, 0) + _set_of(long, 1) + _any_of({start[2:] for start in long})] if long else []
    keys += [re.escape(start) for start in starts if len(start) <= 2]
    branches = [rb"\n" + length + key for key in keys]
    return re.compile(b"J" + length + b"(?:" + b"|".join([*branches, rb"\x12"]) + b")", re.DOTALL)


def _set_of(texts: Iterable[bytes], at: int) -> bytes:
    """What matches the byte that any of `texts` has there."""
    return b"[" + b"".join(sorted({re.escape(text[at : at + 1]) for text in texts})) + b"]"


def _any_of(texts: Iterable[bytes]) -> bytes:
    """What matches any of `texts`. They are grouped by their first byte, because `re` tries alternatives in turn."""
    by_first: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for text in sorted(texts):
        by_first[text[:1]].append(re.escape(text[1:]))
    branches = [re.escape(first) + b"(?:" + b"|".join(rests) + b")" for first, rests in by_first.items()]
    return b"(?:" + b"|".join(branches) + b")"
