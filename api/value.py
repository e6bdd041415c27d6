"""Decodes the two protobuf messages that Feast keeps in the online store: `feast.types.Value` and `Timestamp`.

By hand, because the protobuf runtime and Feast's generated modules cost more memory and start-up time than
the whole gateway. Field numbers are those of `feast/protos/feast/types/Value.proto` of Feast 0.67.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

from api.instants import SECOND

Json = Any
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


class MalformedValue(ValueError):
    """Bytes that are no message this module knows."""


def decode(data: bytes) -> Json:
    """The JSON-like value of a serialized `feast.types.Value`; None for NULL.

    int64 keeps full precision; bytes become base64 text; timestamps whole seconds since 1970; sets become
    lists; maps become objects; NaN and the infinities stay floats. MalformedValue if it cannot be read.
    """
    try:
        return _decode(data)
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise MalformedValue("the bytes are no feast.types.Value") from error


def decode_timestamp(data: bytes) -> int:
    """Nanoseconds since 1970 of a serialized `google.protobuf.Timestamp`; MalformedValue if it cannot be read."""
    seconds = nanos = 0
    try:
        for number, wire, payload in _fields(data):
            if wire == _VARINT and number == 1:
                seconds = _signed(payload)
            elif wire == _VARINT and number == 2:
                nanos = _signed(payload)
    except IndexError as error:
        raise MalformedValue("the bytes are no google.protobuf.Timestamp") from error
    return seconds * SECOND + nanos


def _decode(data: bytes) -> Json:
    value = None
    for number, wire, payload in _fields(data):
        expected, convert = _KINDS[number]
        if wire != expected:
            raise MalformedValue(f"field {number} has wire type {wire}")
        value = convert(payload)
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, payload) one after the other: an unsigned int for a varint, bytes for the others."""
    position, size = 0, len(data)
    while position < size:
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _VARINT:
            number, position = _varint(data, position)
            yield tag >> 3, wire, number
            continue
        if wire == _LENGTH:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise MalformedValue(f"wire type {wire} is not used by protobuf 3")
        if position + length > size:
            raise MalformedValue("the bytes end in the middle of a field")
        yield tag >> 3, wire, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & _MASK64, position
        shift += 7
        if shift > 63:
            raise MalformedValue("a varint is longer than ten bytes")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _double(data: bytes) -> float:
    number: float = _DOUBLE.unpack(data)[0]
    return number


def _float(data: bytes) -> float:
    number: float = _FLOAT.unpack(data)[0]
    return number


def _nothing(_: int) -> None:
    return None


def _list_of(wire: int, convert: Callable[[Any], Json]) -> Callable[[bytes], list[Json]]:
    """Decoder of a message whose field 1 is repeated: one element a field, or packed into one."""

    def decode_list(data: bytes) -> list[Json]:
        items: list[Json] = []
        for number, found, payload in _fields(data):
            if number != 1:
                raise MalformedValue(f"a list has no field {number}")
            items.extend([convert(payload)] if found == wire else map(convert, _unpack(wire, payload)))
        return items

    return decode_list


def _unpack(wire: int, data: bytes) -> Iterator[Any]:
    if wire == _VARINT:
        position = 0
        while position < len(data):
            number, position = _varint(data, position)
            yield number
    elif wire in (_FIXED64, _FIXED32):
        width = 8 if wire == _FIXED64 else 4
        yield from (data[start : start + width] for start in range(0, len(data), width))
    else:
        raise MalformedValue("only numbers can be packed")


def _map(data: bytes) -> dict[str, Json]:
    entries: dict[str, Json] = {}
    for _, _, entry in _fields(data):
        parts = {number: payload for number, _, payload in _fields(entry)}
        entries[_text(parts.get(1, b""))] = _decode(parts.get(2, b""))
    return entries


_texts, _numbers, _many_bytes = _list_of(_LENGTH, _text), _list_of(_VARINT, _signed), _list_of(_LENGTH, _base64)
_doubles, _floats, _bools = _list_of(_FIXED64, _double), _list_of(_FIXED32, _float), _list_of(_VARINT, bool)
_maps, _values = _list_of(_LENGTH, _map), _list_of(_LENGTH, _decode)

# Field number -> (wire type, decoder of the payload).
_KINDS: dict[int, tuple[int, Callable[[Any], Json]]] = {
    1: (_LENGTH, _base64),
    2: (_LENGTH, _text),
    3: (_VARINT, _signed),
    4: (_VARINT, _signed),
    5: (_FIXED64, _double),
    6: (_FIXED32, _float),
    7: (_VARINT, bool),
    8: (_VARINT, _signed),
    19: (_VARINT, _nothing),
    20: (_LENGTH, _map),
    21: (_LENGTH, _maps),
    32: (_LENGTH, _text),
    34: (_LENGTH, _map),
    35: (_LENGTH, _maps),
    **dict.fromkeys((33, 38, 39, 40, 41, 45, 46, 12, 23), (_LENGTH, _texts)),
    **dict.fromkeys((36, 37, 44), (_LENGTH, _text)),
    **dict.fromkeys((11, 22), (_LENGTH, _many_bytes)),
    **dict.fromkeys((13, 14, 18, 24, 25, 29), (_LENGTH, _numbers)),
    **dict.fromkeys((15, 26), (_LENGTH, _doubles)),
    **dict.fromkeys((16, 27), (_LENGTH, _floats)),
    **dict.fromkeys((17, 28), (_LENGTH, _bools)),
    **dict.fromkeys((42, 43), (_LENGTH, _values)),
}
