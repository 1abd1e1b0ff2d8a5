import pytest

from spanmeter.wire.fault import find_fault


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x0a", "byte 1: ends inside a number"),
        (b"\x0a\x05ab", "byte 0: field 1 needs 5 bytes, 2 are left"),
        (b"\x0a\x00\x11\x01", "byte 2: field 2 needs 8 bytes, 1 are left"),
        (b"\x0a\x00\x15\x01", "byte 2: field 2 needs 4 bytes, 1 are left"),
        (b"\x00", "byte 0: field number 0 does not exist"),
        (b"\x0e", "byte 0: wire type 6 does not exist"),
        (b"\x08" + b"\xff" * 11, "byte 1: a number of more than 10 bytes"),
        (b"\x0b\x10\x01", "byte 0: group 1 does not end"),
        (b"\x0b\x14", "byte 1: group 2 ends and was not begun"),
        (b"\x0b\x10\x01\x0c\x0e", "byte 4: wire type 6 does not exist"),
        (b"\x0a\x04\x12\x02\x12\x07", "byte 4: field 2 needs 7 bytes, 0 are left"),
    ],
)
def test_the_first_unreadable_field_is_named(body: bytes, message: str) -> None:
    assert find_fault(body) == message


def test_a_long_body_is_not_searched_to_its_end() -> None:
    assert find_fault(b"\x0a\x00" * 300_000 + b"\x0e") == "byte 400002: or after it"


def test_a_body_without_fault_has_no_byte() -> None:
    assert find_fault(b"\x0a\x00") == "at no single byte (values nested too deep?)"
