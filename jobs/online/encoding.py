"""Feast's online layout for Redis, byte for byte.

Source: Feast 0.67, key_encoding_utils.py, online_stores/redis.py and protos/feast/types/Value.proto.
"""

import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import mmh3

_STRING_TAG = 2
# EntityKey value types (feast.types.ValueType) and how each is laid out.
_KEY_ENCODERS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "BYTES": (1, bytes),
    "STRING": (_STRING_TAG, lambda value: str(value).encode()),
    "INT32": (3, lambda value: struct.pack("<i", value)),
    "INT64": (4, lambda value: struct.pack("<q", value)),
    "UNIX_TIMESTAMP": (8, lambda value: struct.pack("<q", _unix_seconds(value))),
}
_KEY_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "BYTES": bytes,
    "STRING": bytes.decode,
    "INT32": lambda value: int.from_bytes(value, "little", signed=True),
    "INT64": lambda value: int.from_bytes(value, "little", signed=True),
    "UNIX_TIMESTAMP": lambda value: int.from_bytes(value, "little", signed=True),
}
KEY_TYPES = frozenset(_KEY_ENCODERS)
_SCALARS = ("BYTES", "STRING", "INT32", "INT64", "DOUBLE", "FLOAT", "BOOL", "UNIX_TIMESTAMP")
VALUE_TYPES = frozenset({*_SCALARS, *(f"{name}_LIST" for name in _SCALARS)})
"""Those of feast.types.ValueType that can be served."""

ENTITYLESS_JOIN_KEY, ENTITYLESS_VALUE = "__dummy_id", ""


def entity_key_prefix(join_keys: Sequence[str]) -> bytes:
    """The bytes with which every key of an entity with these join keys (in sorted order) starts."""
    parts = [struct.pack("<I", len(join_keys))]
    for name in join_keys:
        encoded = name.encode()
        parts.append(struct.pack("<II", _STRING_TAG, len(encoded)) + encoded)
    return b"".join(parts)


def entity_key_value(value: Any, value_type: str) -> bytes:
    """One value of an entity key: u32 type, u32 length, bytes. `value_type` is one of KEY_TYPES."""
    number, encode = _KEY_ENCODERS[value_type]
    encoded = encode(value)
    return struct.pack("<II", number, len(encoded)) + encoded


def entity_key_values(key: bytes, prefix_length: int, types: Sequence[str]) -> tuple[Any, ...]:
    """The join keys' values, of these value types, in a key that starts with a prefix of so many bytes."""
    values: list[Any] = []
    position = prefix_length
    for kind in types:
        length = int.from_bytes(key[position + 4 : position + 8], "little")
        value = key[position + 8 : position + 8 + length]
        values.append(_KEY_DECODERS[kind](value))
        position += 8 + length
    return tuple(values)


def feature_field(feature_view: str, feature: str) -> bytes:
    """The hash field of a feature: murmur3_32 of `view:feature`, seed 0, 4 bytes little-endian."""
    return struct.pack("<I", mmh3.hash(f"{feature_view}:{feature}", signed=False))


def timestamp_field(feature_view: str) -> bytes:
    """The hash field that holds the as_of of a view's values."""
    return f"_ts:{feature_view}".encode()


def encode_timestamp(instant: datetime) -> bytes:
    """`instant` as protobuf google.protobuf.Timestamp."""
    since_epoch = instant.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since_epoch.days * 86400 + since_epoch.seconds
    encoded = b"\x08" + varint(seconds) if seconds else b""
    return encoded + (b"\x10" + varint(since_epoch.microseconds * 1000) if since_epoch.microseconds else b"")


def varint(value: int) -> bytes:
    """`value` in base 128, the least significant part first."""
    # Negative numbers are written as the 64-bit two's complement, in ten bytes.
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _unix_seconds(value: Any) -> int:
    return math.floor(value.timestamp()) if isinstance(value, datetime) else int(value)


def delimited(field: int, content: bytes) -> bytes:
    """A protobuf field that is bytes, a text or a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content
