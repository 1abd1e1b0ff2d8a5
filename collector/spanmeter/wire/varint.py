"""protobuf's numbers of variable length: seven bits a byte, the lowest first; all bytes but the last have bit 7 set."""

_MOST_BYTES = 10
_MOST_REMEMBERED = 20_000


def read_varint(encoded: bytes) -> int:
    """The number, of which these are all bytes."""
    value = 0
    for place, byte in enumerate(encoded):
        value |= (byte & 0x7F) << 7 * place
    return value


def varint_at(encoded: bytes, at: int) -> tuple[int, int] | None:
    """The number that begins at this place, and the place behind it; None if it does not end."""
    for end in range(at + 1, min(at + _MOST_BYTES, len(encoded)) + 1):
        if encoded[end - 1] < 0x80:
            return read_varint(encoded[at:end]), end
    return None


class Varints(dict[bytes, int]):
    """`read_varint`, remembered: short numbers come again and again."""

    __slots__ = ()

    def __missing__(self, encoded: bytes) -> int:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        value = self[encoded] = read_varint(encoded)
        return value
