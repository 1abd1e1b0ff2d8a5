"""Attributes in protobuf: from the bytes of a KeyValue to a key of the vocabulary and its value."""

from collections.abc import Iterable, Mapping
from typing import Any

from spanmeter.usage.span import AttributeValue
from spanmeter.wire.messages import KeyValue

_Pair = tuple[str, AttributeValue]

# Short attributes (model, provider, operation, tenant) repeat on span after span of a request; ids, counts and long
# text do not, but only long text would cost memory to remember.
_REMEMBERED_BYTES = 128

# Tags: field number << 3 | wire type.
_KEY = 0x0A
_VALUE = 0x12
_STRING_VALUE = 0x0A
_INT_VALUE = 0x18

_MOST_BYTES = 0x7F  # of what has its length in one byte


class AttributeReader(dict[bytes, _Pair | None]):
    """KeyValue bytes -> (key, value), or None where the key is not in the vocabulary.

    A dict that fills itself, so that an attribute seen before costs one look-up in C. It holds no more than the
    request it is used for: make one a request. Subscribing raises protobuf's DecodeError where a KeyValue is broken.
    """

    __slots__ = ("_fields", "_keys")

    def __init__(self, keys: Mapping[bytes, str], fields: Mapping[bytes, str]) -> None:
        """`fields` is `key_fields(keys)`."""
        super().__init__()
        self._keys = keys
        self._fields = fields

    def read(self, attributes: Iterable[bytes]) -> dict[str, AttributeValue]:
        """The wanted ones among `attributes`. Of equal keys the last wins."""
        return dict(filter(None, map(self.__getitem__, attributes)))

    def read_long(self, attributes: Iterable[bytes]) -> dict[str, AttributeValue]:
        """As `read`, for spans with long texts: to look one of these up is to hash all its bytes."""
        pairs = [self[one] if len(one) <= _REMEMBERED_BYTES else self._pair(one) for one in attributes]
        return dict(filter(None, pairs))

    def __missing__(self, key_value: bytes) -> _Pair | None:
        pair = self._pair(key_value)
        if len(key_value) <= _REMEMBERED_BYTES:
            self[key_value] = pair
        return pair

    def _pair(self, key_value: bytes) -> _Pair | None:
        """Reads by position what every known encoder writes: key, then value, each length in one byte.

        Strings of up to 125 bytes and integers from 0 to 2,097,151 are read here; all else goes to the parser.
        """
        size = len(key_value)
        at = key_value[1] + 2 if size > 1 else 0  # where the value begins, if the key is first and short
        key = self._fields.get(key_value[:at])
        if key is None:
            is_key_unwanted = 0 < at <= size and key_value[0] == _KEY and at <= _MOST_BYTES + 2
            pair = None if is_key_unwanted else _parse(key_value, self._keys)
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
            pair = _parse(key_value, self._keys) if value is None else (key, value)
        return pair


def key_fields(keys: Mapping[bytes, str]) -> dict[bytes, str]:
    """Short keys by field 1 of a KeyValue, with its tag and its length."""
    return {bytes((_KEY, len(key))) + key: name for key, name in keys.items() if len(key) <= _MOST_BYTES}


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
