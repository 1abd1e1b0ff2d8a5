"""The bytes of a journal row, which a newer spanmeter may find in an older one's folder."""

import msgspec
import pytest

from spanmeter.store.journal import decoded, encoded
from tests.spans import facts, llm_call

MANY = [facts(number, trace=number, call=llm_call(number), tenant="acme") for number in range(1, 513)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 20, 255, 256, 259, 511, 512])
def test_rows_of_the_first_format_are_read(count: int) -> None:
    assert list(decoded(msgspec.msgpack.encode(MANY[:count]))) == MANY[:count]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 20, 255, 256, 259, 511, 512])
def test_rows_are_read_back(count: int) -> None:
    assert list(decoded(encoded(MANY[:count]))) == MANY[:count]


def test_a_span_takes_less_than_a_hundred_and_twenty_bytes() -> None:
    assert len(encoded(MANY)) < 120 * len(MANY)
