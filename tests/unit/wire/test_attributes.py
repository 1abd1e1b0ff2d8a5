"""An attribute is what protobuf's parser makes of it, however it is encoded."""

from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.attributes import AttributeReader, AttributeTokens
from spanmeter.wire.messages import KeyValue
from tests.unit.usage.test_forms import recogniser
from tests.unit.wire.bodies import field, varint
from tests.unit.wire.test_moulds import body_of_raw, taken, usual

KEYS = ("gen_ai.request.model", "tenant.id", "x" * 127, "y" * 128, "z" * 300)
OTHERS = ("gen_ai.request.mode", "http.url", "", "w" * 127, "w" * 128, "v" * 300)


TEXTS = st.sampled_from(("", "a", "gpt-4o", "t" * 120, "t" * 130, "t" * 20_000)).map(str.encode)
VALUES = st.one_of(
    TEXTS.map(lambda text: field(1, text)),
    st.integers(0, 2**40).map(lambda number: b"\x18" + varint(number)),
    st.lists(TEXTS, max_size=2).map(lambda texts: b"".join(field(1, text) for text in texts)),
    st.binary(max_size=6),
)
FIELDS = st.one_of(
    st.sampled_from((*KEYS, *OTHERS)).map(lambda key: field(1, key.encode())),
    VALUES.map(lambda value: field(2, value)),
    st.integers(0, 300).map(lambda number: b"\x18" + varint(number)),
    TEXTS.map(lambda text: field(4, text)),
)
USUAL = st.tuples(st.sampled_from((*KEYS, *OTHERS)), VALUES).map(
    lambda pair: field(1, pair[0].encode()) + field(2, pair[1])
)
ATTRIBUTES = st.one_of(USUAL, st.lists(FIELDS, max_size=4).map(b"".join), st.binary(max_size=12))


def expected_key(key_value: bytes) -> str | None:
    """By the parser alone, but for what begins with a short key that nobody wants: that is not looked into."""
    size = key_value[1] if key_value[:1] == b"\n" and len(key_value) > 1 else 128
    if size < 128 and size + 2 <= len(key_value) and key_value[2 : size + 2].decode("utf-8", "replace") not in KEYS:
        return None
    key = KeyValue.FromString(key_value).key.decode("utf-8", "replace")
    return key if key in KEYS else None


@settings(max_examples=600, deadline=None)
@given(key_value=ATTRIBUTES)
def test_a_key_is_the_last_there_is(key_value: bytes) -> None:
    reader = AttributeReader(KEYS)
    try:
        expected = expected_key(key_value)
    except DecodeError:
        with suppress(DecodeError):  # where the key can be read, the value need not be
            assert reader.key(key_value) in KEYS
        with pytest.raises(DecodeError):
            reader.pair(key_value)
        return
    pair = reader.pair(key_value)
    assert reader.key(key_value) == expected
    assert (None if pair is None else pair[0]) == expected
    assert reader[key_value] == pair
    assert list(AttributeTokens(reader, frozenset(KEYS)).sign([key_value])) == [None if expected is None else key_value]


OWN = tuple(one.key for one in usual(1).attributes)
ODD = st.lists(
    st.one_of(st.sampled_from(OWN).map(lambda key: field(1, key.encode())), VALUES.map(lambda value: field(2, value))),
    min_size=1,
    max_size=4,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(seen=st.lists(st.tuples(st.sampled_from(OWN), ODD, st.booleans()), min_size=1, max_size=4))
def test_an_odd_attribute_changes_nothing_for_the_spans_after_it(seen: list[tuple[str, bytes, bool]]) -> None:
    """Be it in the place of a usual one, or behind what that consists of."""
    used: Recogniser = recogniser()
    for number, (key, odd, is_behind) in enumerate(seen):
        span = usual(number)
        encoded = next(one.SerializeToString() for one in span.attributes if one.key == key)
        raw, before = span.SerializeToString(), varint(len(encoded)) + encoded
        assert raw.count(before) == 1
        after = encoded + odd if is_behind else odd
        taken(used, body_of_raw(raw.replace(before, varint(len(after)) + after)))
    body = body_of_raw(usual(9).SerializeToString())
    assert taken(used, body) == taken(recogniser(), body)
