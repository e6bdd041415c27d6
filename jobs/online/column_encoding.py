"""Feast's layout of values and keys for whole Arrow columns: what `encoding` says of one value, of all at once.

Each function takes n values and gives n; no value becomes a Python object.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import DataError
from jobs.online.columns import binary, booleans, by_length, constant, flags, integers, join, numbers, without_nulls
from jobs.online.encoded_column import EncodedColumn
from jobs.online.encoding import varint

Micros = npt.NDArray[np.int64]

_ARROW_TYPES = {
    "INT32": pa.int32(), "INT64": pa.int64(), "DOUBLE": pa.float64(), "FLOAT": pa.float32(), "BOOL": pa.bool_(),
    "UNIX_TIMESTAMP": pa.int64(), "STRING": pa.string(), "BYTES": pa.binary(),
}  # fmt: skip
# Field numbers of feast.types.Value; a list's is ten further on.
_FIELDS = {
    "BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "DOUBLE": 5, "FLOAT": 6, "BOOL": 7, "UNIX_TIMESTAMP": 8,
}  # fmt: skip
_LIST_FIELDS = 10
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {"BYTES": _DELIMITED, "STRING": _DELIMITED, "DOUBLE": _FIXED64, "FLOAT": _FIXED32}
# A NULL in a list is this, as Feast writes it; all else is zero or empty.
# Source: feast.type_map._LIST_NONE_DEFAULTS of Feast 0.67; the instant is numpy's NaT as a number.
_NULL_INSTANT = np.iinfo(np.int64).min
_KEY_TYPES = {"BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8}
MICROSECONDS = 1_000_000


def encode_values(column: pa.Array, value_type: str, name: str) -> EncodedColumn:
    """`feast.types.Value` messages.

    Raises DataError, which names the column by `name`, where a value does not fit Feast's ValueType `value_type`.
    """
    if value_type.endswith("_LIST"):
        item_type = value_type.removesuffix("_LIST")
        field, wire_type = _FIELDS[item_type] + _LIST_FIELDS, _DELIMITED
        items = column.flatten()
        contents, defaulted = _list_contents(column, items, item_type, name), items.null_count
    else:
        defaulted = 0
        field, wire_type = _FIELDS[value_type], _WIRE_TYPES.get(value_type, _VARINT)
        contents = _contents(as_type(column, value_type, name), value_type)
    is_valid = None
    if column.null_count:
        contents = pc.if_else(column.is_valid(), contents, constant(b""))
        is_valid = flags(column.is_valid())
    return EncodedColumn(contents, varint(field << 3 | wire_type), wire_type == _DELIMITED, is_valid, defaulted)


def encode_timestamps(micros: Micros) -> EncodedColumn:
    """`google.protobuf.Timestamp` messages of instants in UTC, given in microseconds since 1970."""
    column = integers(micros)
    distinct = pc.unique(column)  # of a snapshot's rows they are few
    seconds, rest = np.divmod(numbers(distinct, "<i8"), MICROSECONDS)
    encoded = join(_where_not_zero(seconds, b"\x08"), _where_not_zero(rest * 1000, b"\x10"))
    return EncodedColumn(encoded.take(pc.index_in(column, distinct)))


def epoch_micros(column: pa.Array) -> Micros:
    """Instants as microseconds since 1970; 0 for a NULL."""
    return numbers(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), "<i8")


def encode_keys(columns: Sequence[pa.Array], types: Sequence[str], names: Sequence[str], prefix: bytes) -> pa.Array:
    """Serialized entity keys: `prefix` (the join keys' names), then u32 type, u32 length and bytes of each value.

    Raises DataError for a NULL, and for a value that does not fit its type.
    """
    parts: list[pa.Array | pa.Scalar] = [constant(prefix)]
    for column, kind, name in zip(columns, types, names, strict=True):
        if column.null_count:
            raise DataError(f"join key {name} is NULL in {column.null_count} rows; an entity needs a key")
        values = as_type(column, kind, name)
        tag = struct.pack("<I", _KEY_TYPES[kind])
        if _WIRE_TYPES.get(kind) == _DELIMITED:
            values = values.cast(pa.binary())
            parts += [by_length(values, lambda length, tag=tag: tag + struct.pack("<I", length)), values]  # type: ignore[misc]
        else:
            width = 4 if kind == "INT32" else 8
            parts += [constant(tag + struct.pack("<I", width)), _fixed(numbers(values, f"<i{width}"))]
    return join(*parts)


def as_type(column: pa.Array, value_type: str, name: str) -> pa.Array:
    """The column in the Arrow type of a scalar ValueType. Raises DataError where a value does not fit."""
    target = _ARROW_TYPES[value_type]
    try:
        if isinstance(column.type, pa.BaseExtensionType):  # a numeric, which the driver hands out as text
            column = column.storage
            column = column.cast(pa.float64()) if pa.types.is_floating(target) else column
            column = column.cast(pa.decimal128(38, 9)) if pa.types.is_integer(target) else column
        if value_type == "UNIX_TIMESTAMP" and pa.types.is_temporal(column.type):
            return _whole_seconds(column)
        return column.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{name} does not fit its defined type {value_type}: {error}") from error


def _contents(values: pa.Array, value_type: str) -> pa.Array:
    """What stands behind the tag (and the length, where there is one) of each value."""
    match value_type:
        case "STRING" | "BYTES":
            return without_nulls(values.cast(pa.binary()), constant(b""))
        case "DOUBLE":
            return _fixed(numbers(values, "<f8"))
        case "FLOAT":
            return _fixed(numbers(values, "<f4"))
        case "BOOL":
            return _fixed(numbers(values.cast(pa.uint8()), "u1"))
        case _:
            return _varints(numbers(values, "<i8"))


def _delimited(tag: bytes, contents: pa.Array) -> pa.Array:
    return join(by_length(contents, lambda length: tag + varint(length)), contents)


def _list_contents(column: pa.Array, items: pa.Array, item_type: str, name: str) -> pa.Array:
    """What stands behind the tag and the length of each list; `items` are the elements of all."""
    values = as_type(items, item_type, name)
    if item_type == "UNIX_TIMESTAMP":
        values = without_nulls(values, integers(np.array([_NULL_INSTANT]))[0])
    contents = _contents(values, item_type)
    is_packed = _WIRE_TYPES.get(item_type) != _DELIMITED
    if not is_packed:
        contents = _delimited(b"\x0a", contents)
    ends = np.zeros(len(column) + 1, np.int32)
    np.cumsum(numbers(pc.list_value_length(column), "<i4"), out=ends[1:])
    # The items lie one behind the other: a list's bytes are a longer slice of the same buffer.
    offsets = np.frombuffer(contents.buffers()[1], np.int32)[contents.offset :][ends]
    lists = binary(offsets, contents.buffers()[2] or pa.py_buffer(b""))
    if is_packed:
        lists = pc.if_else(booleans(np.diff(offsets) > 0), _delimited(b"\x0a", lists), constant(b""))
    return lists


def _whole_seconds(column: pa.Array) -> pa.Array:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    micros = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    seconds = np.floor_divide(numbers(micros, "<i8"), MICROSECONDS)
    return pc.if_else(micros.is_valid(), integers(seconds), pa.nulls(1, pa.int64())[0])


def _where_not_zero(values: npt.NDArray[np.int64], tag: bytes) -> pa.Array:
    encoded = join(constant(tag), _varints(values))
    return encoded if values.all() else pc.if_else(booleans(values != 0), encoded, constant(b""))


def _varints(values: npt.NDArray[np.int64]) -> pa.Array:
    """Base-128 varints; a negative number is written as its 64-bit two's complement, in ten bytes."""
    unsigned = values.view(np.uint64)
    width = max(1, (int(unsigned.max(initial=0)).bit_length() + 6) // 7)
    rows = np.empty((len(values), width), np.uint8)
    lengths = np.ones(len(values), np.int64)
    for index in range(width):
        rows[:, index] = (unsigned >> np.uint64(7 * index)) & np.uint64(0x7F)
        if index:
            goes_on = unsigned >= np.uint64(1 << 7 * index)
            rows[:, index - 1] |= goes_on.astype(np.uint8) << 7
            lengths += goes_on
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return binary(offsets, pa.py_buffer(rows[np.arange(width) < lengths[:, None]]))


def _fixed(values: npt.NDArray[np.generic]) -> pa.Array:
    """The values' own bytes, each of the same width."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.itemsize
    return binary(offsets, pa.py_buffer(np.ascontiguousarray(values)))
