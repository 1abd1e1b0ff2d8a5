"""Attributes in protobuf: from the bytes of a KeyValue to a key of the vocabulary and its value."""

from collections.abc import Iterable, Mapping
from typing import Any

from spanmeter.usage.layouts import Token
from spanmeter.usage.span import AttributeValue
from spanmeter.wire.messages import KeyValue
from spanmeter.wire.varint import varint_at

_Pair = tuple[str, AttributeValue]

# Short attributes (model, provider, operation, tenant) repeat on span after span of a request; ids, counts and long
# text do not, but only long text would cost memory to remember.
REMEMBERED_BYTES = 128
_MOST_REMEMBERED = 10_000
_MOST_TOGETHER = 1_000
_MOST_BYTES_TOGETHER = 4_096

# Tags: field number << 3 | wire type.
_KEY = 0x0A
_VALUE = 0x12
_STRING_VALUE = 0x0A
_INT_VALUE = 0x18

_MOST_BYTES = 0x7F  # of what has its length in one byte


class AttributeReader(dict[bytes, _Pair | None]):
    """KeyValue bytes -> (key, value), or None where the key is not in the vocabulary.

    A dict that fills itself, so that an attribute seen before costs one look-up in C. Subscribing raises protobuf's
    DecodeError where a KeyValue is broken. Long attributes are not remembered, and all are forgotten now and then.
    """

    __slots__ = ("_together", "fields", "keys_by_bytes")

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__()
        self._together: dict[tuple[bytes, ...], Mapping[str, AttributeValue]] = {}
        self.keys_by_bytes = {key.encode(): key for key in keys}
        self.fields = {
            bytes((_KEY, len(key))) + key: name for key, name in self.keys_by_bytes.items() if len(key) <= _MOST_BYTES
        }

    def read(self, attributes: Iterable[bytes]) -> dict[str, AttributeValue]:
        """The wanted ones among `attributes`. Of equal keys the last wins."""
        return dict(filter(None, map(self.__getitem__, attributes)))

    def read_together(self, attributes: Iterable[bytes]) -> Mapping[str, AttributeValue]:
        """As `read`, for what comes together again and again, such as a resource's: then it is one object."""
        encoded = tuple(attributes)
        found = self._together.get(encoded)
        if found is None:
            found = self.read(encoded)
            if sum(map(len, encoded)) <= _MOST_BYTES_TOGETHER:
                if len(self._together) >= _MOST_TOGETHER:
                    self._together.clear()
                self._together[encoded] = found
        return found

    def read_long(self, attributes: Iterable[bytes]) -> dict[str, AttributeValue]:
        """As `read`, for spans with long texts: to look one of these up is to hash all its bytes."""
        pairs = [self[one] if len(one) <= REMEMBERED_BYTES else self.pair(one) for one in attributes]
        return dict(filter(None, pairs))

    def __missing__(self, key_value: bytes) -> _Pair | None:
        pair = self.pair(key_value)
        if len(key_value) <= REMEMBERED_BYTES:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[key_value] = pair
        return pair

    def key(self, key_value: bytes) -> str | None:
        """The key alone, if it is in the vocabulary."""
        at = key_value[1] + 2 if len(key_value) > 1 else 0
        key = self.fields.get(key_value[:at])
        if _is_short_key(key_value, at) if key is None else _is_value(key_value, at):
            return key
        pair = _parse(key_value, self.keys_by_bytes)
        return None if pair is None else pair[0]

    def pair(self, key_value: bytes) -> _Pair | None:
        """What subscribing gives, of an attribute that will not come again.

        Reads by position what every known encoder writes: key, then value, each length in one byte.

        Strings of up to 125 bytes and integers from 0 to 2,097,151 are read here; all else goes to the parser.
        """
        size = len(key_value)
        at = key_value[1] + 2 if size > 1 else 0  # where the value begins, if the key is first and short
        key = self.fields.get(key_value[:at])
        if key is None:
            pair = None if _is_short_key(key_value, at) else _parse(key_value, self.keys_by_bytes)
        else:
            rest = size - at
            value: AttributeValue = None
            if 4 <= rest <= _MOST_BYTES + 2 and key_value[at] == _VALUE and key_value[at + 1] == rest - 2:
                kind = key_value[at + 2]
                if kind == _STRING_VALUE:
                    if key_value[at + 3] == rest - 4:
                        value = key_value[at + 4 :].decode("utf-8", "replace")
                elif kind == _INT_VALUE and rest <= 6:
                    value = _varint(key_value[at + 3 :])
            pair = _parse(key_value, self.keys_by_bytes) if value is None else (key, value)
        return pair


class AttributeTokens(dict[bytes, Token]):
    """KeyValue bytes -> the attribute itself where its value is compared, its key where only that is, else None.

    Fills itself like `AttributeReader`. Of a broken KeyValue whose key can be read it gives the key.
    """

    __slots__ = ("_compared", "_reader", "unrepeated")

    def __init__(self, reader: AttributeReader, compared: frozenset[str]) -> None:
        super().__init__()
        self._reader = reader
        self._compared = compared
        self.unrepeated: set[str] = set()
        """Keys whose values are not worth remembering, such as those of ids."""

    def __missing__(self, key_value: bytes) -> Token:
        key = self._reader.key(key_value)
        token = key_value if key in self._compared else key
        if len(key_value) <= REMEMBERED_BYTES and key not in self.unrepeated:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[key_value] = token
        return token

    def sign(self, attributes: Iterable[bytes]) -> Iterable[Token]:
        return map(self.__getitem__, attributes)

    def sign_long(self, attributes: Iterable[bytes]) -> Iterable[Token]:
        """As `sign`, for spans with long texts, see `AttributeReader.read_long`."""
        return [self[one] if len(one) <= REMEMBERED_BYTES else self.__missing__(one) for one in attributes]


def _is_short_key(key_value: bytes, end: int) -> bool:
    """Whether a key, with its length in one byte, is all that stands before `end`. Where nobody wants it, what follows
    is not looked into."""
    return 0 < end <= len(key_value) and key_value[0] == _KEY and end <= _MOST_BYTES + 2


def _is_value(key_value: bytes, at: int) -> bool:
    """Whether one value, or nothing, is all that stands from `at` on.

    Protobuf takes fields in any order and as often as they come, the last of each. To take the first key for the only
    one would make spans alike that are not.
    """
    if at == len(key_value):
        return True
    value = varint_at(key_value, at + 1) if key_value[at] == _VALUE else None
    return value is not None and sum(value) == len(key_value)


def _varint(encoded: bytes) -> int | None:
    """A number in one to three bytes; None where these are not just one number."""
    last = encoded[-1]
    if last >= 0x80:
        return None
    if len(encoded) == 1:
        return last
    first = encoded[0]
    if len(encoded) == 2:
        return first & 0x7F | last << 7 if first >= 0x80 else None
    second = encoded[1]
    return first & 0x7F | (second & 0x7F) << 7 | last << 14 if first >= 0x80 and second >= 0x80 else None


def _parse(key_value: bytes, keys: Mapping[bytes, str]) -> _Pair | None:
    message = KeyValue.FromString(key_value)
    key = keys.get(message.key)
    return None if key is None else (key, _any_value(message.value))


def _any_value(message: Any) -> AttributeValue:
    """Recursion is bounded by the parser, which takes 100 levels of messages."""
    kind = message.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(message, kind)
    if kind == "string_value":
        return _text(value)
    if kind == "array_value":
        return tuple(_any_value(item) for item in value.values)
    if kind == "kvlist_value":
        return {_text(item.key): _any_value(item.value) for item in value.values}
    scalar: bool | int | float | bytes = value
    return scalar


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
