"""Decodes the two protobuf messages that Feast keeps in the online store: `feast.types.Value` and `Timestamp`.

By hand, because the protobuf runtime and Feast's generated modules cost more memory and start-up time than
the whole gateway. Field numbers are those of `feast/protos/feast/types/Value.proto` of Feast 0.67.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from api.instants import SECOND

Json = Any
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1
# What protobuf's own decoders take.
_DEEPEST = 100
_LEAST_SECONDS, _MOST_SECONDS = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, which are all that a Timestamp may name."""
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


@lru_cache(512)
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
    if not (_LEAST_SECONDS <= seconds <= _MOST_SECONDS and 0 <= nanos < SECOND):
        raise MalformedValue("a google.protobuf.Timestamp names no instant of the years 1 to 9999")
    return seconds * SECOND + nanos


def _decode(data: bytes, depth: int = 0) -> Json:
    value = None
    for number, wire, payload in _fields(data):
        kind = _KINDS.get(number)
        if kind is None:
            value = _decode_nested(number, wire, payload, depth + 1)
            continue
        expected, convert = kind
        if wire != expected:
            raise MalformedValue(f"field {number} has wire type {wire}")
        value = convert(payload)
    return value


def _decode_nested(number: int, wire: int, payload: Any, depth: int) -> Json:
    if wire != _LENGTH or depth > _DEEPEST:
        raise MalformedValue(f"field {number} has wire type {wire}, or is nested too deep")
    return _NESTED[number](payload, depth)


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
            items.extend([convert(payload)] if found == wire else map(convert, _unpack(wire, found, payload)))
        return items

    return decode_list


def _unpack(wire: int, found: int, data: bytes) -> Iterator[Any]:
    if found != _LENGTH:
        raise MalformedValue(f"an element has wire type {found}")
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


def _messages(data: bytes) -> Iterator[bytes]:
    """The elements of a message whose field 1 is a repeated message."""
    for number, wire, payload in _fields(data):
        if number != 1 or wire != _LENGTH:
            raise MalformedValue(f"field {number} with wire type {wire} is no element")
        yield payload


def _map(data: bytes, depth: int) -> dict[str, Json]:
    entries: dict[str, Json] = {}
    for entry in _messages(data):
        parts = {1: b"", 2: b""}
        for number, wire, payload in _fields(entry):
            if wire != _LENGTH:
                raise MalformedValue(f"field {number} of an entry has wire type {wire}")
            parts[number] = payload
        entries[_text(parts[1])] = _decode(parts[2], depth)
    return entries


def _maps(data: bytes, depth: int) -> list[Json]:
    return [_map(element, depth) for element in _messages(data)]


def _values(data: bytes, depth: int) -> list[Json]:
    return [_decode(element, depth) for element in _messages(data)]


_texts, _numbers, _many_bytes = _list_of(_LENGTH, _text), _list_of(_VARINT, _signed), _list_of(_LENGTH, _base64)
_doubles, _floats, _bools = _list_of(_FIXED64, _double), _list_of(_FIXED32, _float), _list_of(_VARINT, bool)

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
    32: (_LENGTH, _text),
    **dict.fromkeys((33, 38, 39, 40, 41, 45, 46, 12, 23), (_LENGTH, _texts)),
    **dict.fromkeys((36, 37, 44), (_LENGTH, _text)),
    **dict.fromkeys((11, 22), (_LENGTH, _many_bytes)),
    **dict.fromkeys((13, 14, 18, 24, 25, 29), (_LENGTH, _numbers)),
    **dict.fromkeys((15, 26), (_LENGTH, _doubles)),
    **dict.fromkeys((16, 27), (_LENGTH, _floats)),
    **dict.fromkeys((17, 28), (_LENGTH, _bools)),
}
# Of the values that hold values.
_NESTED: dict[int, Callable[[bytes, int], Json]] = {
    **dict.fromkeys((20, 34), _map),
    **dict.fromkeys((21, 35), _maps),
    **dict.fromkeys((42, 43), _values),
}
