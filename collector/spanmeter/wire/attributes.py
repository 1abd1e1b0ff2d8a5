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

_LONGEST_KEY_END = 2 + 0x7F  # a longer key's length takes more than one byte
_SHORT_FIELD_END = 2 + 0x7F + 1


class AttributeReader(dict[bytes, _Pair | None]):
    """KeyValue bytes -> (key, value), or None where the key is not in the vocabulary.

    A dict that fills itself, so that an attribute seen before costs one look-up in C. It holds no more than the
    request it is used for: make one a request. Subscribing raises protobuf's DecodeError where a KeyValue is broken.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[bytes, str]) -> None:
        super().__init__()
        self._keys = keys

    def read(self, attributes: Iterable[bytes]) -> dict[str, AttributeValue]:
        """The wanted ones among `attributes`. Of equal keys the last wins."""
        return dict(filter(None, map(self.__getitem__, attributes)))

    def __missing__(self, key_value: bytes) -> _Pair | None:
        """Reads by position what every known encoder writes: key, then value, each length in one byte.

        Strings of up to 125 bytes and integers from 0 to 2,097,151 are read here; all else goes to the parser.
        """
        size = len(key_value)
        value_at = key_value[1] + 2 if size > 1 and key_value[0] == _KEY else size + 1
        if value_at > size or value_at > _LONGEST_KEY_END:
            pair = _parse(key_value, self._keys)
        elif (key := self._keys.get(key_value[2:value_at])) is None:
            pair = None
        else:
            value = _short_value(key_value[value_at:])
            pair = _parse(key_value, self._keys) if value is None else (key, value)
        if size <= _REMEMBERED_BYTES:
            self[key_value] = pair
        return pair


def _short_value(field: bytes) -> str | int | None:
    """The value in field 2 of a KeyValue if it is a short string or a small integer, else None."""
    size = len(field)
    if not 4 <= size < _SHORT_FIELD_END or field[0] != _VALUE or field[1] != size - 2:
        return None
    kind = field[2]
    first = field[3]
    if kind == _STRING_VALUE:
        return field[4:].decode("utf-8", "replace") if first == size - 4 else None
    if kind == _INT_VALUE:
        last = field[-1]
        if last < 0x80:
            if size == 4:
                return last
            if size == 5 and first >= 0x80:
                return first & 0x7F | last << 7
            if size == 6 and first >= 0x80 and field[4] >= 0x80:
                return first & 0x7F | (field[4] & 0x7F) << 7 | last << 14
    return None


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
