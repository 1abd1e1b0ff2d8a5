"""No span that has a key of interest is passed over, however it is written."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.pipeline.configured import configured_recogniser
from spanmeter.settings import load
from spanmeter.usage.span import Vocabulary
from spanmeter.wire.encoded import sift
from spanmeter.wire.interest import interest_of
from tests.unit.wire.bodies import VOCABULARY, field

KEYS = ("t", "id", "org", "Straße", "^]-", "x" * 200, "tenant.id", "gen_ai.system")
OWN = Vocabulary(keys=frozenset(KEYS), markers=KEYS)
USUAL = configured_recogniser(load({})).vocabulary()
OF_INTEREST = [
    (interest_of(vocabulary).pattern, key)
    for vocabulary in (OWN, USUAL, VOCABULARY)
    for key in sorted(interest_of(vocabulary).keys)
]
UNKNOWN = (
    *("http.request.method", "http.route", "url.path", "server.address", "client.address", "network.peer.port"),
    *(
        "db.system.name",
        "db.query.text",
        "rpc.service",
        "messaging.system",
        "user_agent.original",
        "thread.id",
        "error",
    ),
)
lengths = st.sampled_from([0, 0, 0, 1, 2])


def attribute(
    key: bytes, value: bytes, *, more: tuple[int, int, int] = (0, 0, 0), is_value_first: bool = False
) -> bytes:
    """With so many more bytes than needed for the lengths of the attribute, its key and its value."""
    fields = [field(1, key, bytes_more=more[1]), field(2, value, bytes_more=more[2])]
    return field(9, b"".join(fields[::-1] if is_value_first else fields), bytes_more=more[0])


@settings(deadline=None, max_examples=1_000)
@given(
    st.sampled_from(OF_INTEREST),
    st.sampled_from([0, 1, 5, 60, 100, 120, 1_290, 2_310, 20_000, 3_000_000]),
    st.tuples(lengths, lengths, lengths),
    st.booleans(),
    st.binary(max_size=60),
    st.binary(max_size=20),
)
def test_a_key_of_interest_is_found(
    of_interest: tuple[re.Pattern[bytes], str],
    size: int,
    more: tuple[int, int, int],
    is_value_first: bool,
    before: bytes,
    behind: bytes,
) -> None:
    pattern, key = of_interest
    written = attribute(key.encode(), b"x" * size, more=more, is_value_first=is_value_first)
    assert pattern.search(before + written + behind)


@pytest.mark.parametrize("key", UNKNOWN)
def test_other_keys_are_not(key: str) -> None:
    span = attribute(b"service", b"\n\x04shop") + attribute(key.encode(), b"\n\x09tenant.id") + attribute(b"x", b"")
    assert interest_of(USUAL).pattern.search(span) is None


pieces = st.lists(st.sampled_from([b"J", b"\x0e", b"\n\x09", b"tenant", b".id", b"\x12", b"xyz", b"\x80"]), max_size=9)


@settings(deadline=None)
@given(st.lists(pieces.map(b"".join), max_size=20), st.integers(0, 70))
def test_many_are_sifted_as_each_would_be(spans: list[bytes], others: int) -> None:
    interest = interest_of(USUAL)
    raw = [*spans[::2], *[b"other"] * others, *spans[1::2]]
    passed: list[bytes] = []
    assert sift(raw, interest, passed) == [one for one in raw if interest.pattern.search(one)]
    assert passed == [one for one in raw if not interest.pattern.search(one)]
