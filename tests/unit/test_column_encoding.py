"""A whole column is encoded to the bytes that its values are one by one."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast.type_map import _LIST_NONE_DEFAULTS, python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import DataError
from jobs.online.column_encoding import encode_keys, encode_timestamps, encode_values, epoch_micros
from jobs.online.columns import content
from jobs.online.encoding import (
    KEY_TYPES,
    VALUE_TYPES,
    encode_timestamp,
    entity_key_prefix,
    entity_key_value,
)
from tests.feast_values import message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
INSTANTS = st.integers(-(10**15), 10**16).map(lambda micros: EPOCH + timedelta(microseconds=micros))
WHOLE_SECONDS = st.integers(-(10**9), 10**10).map(lambda seconds: EPOCH + timedelta(seconds=seconds))
SCALARS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "INT32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "INT64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "DOUBLE": (pa.float64(), st.floats()),
    "FLOAT": (pa.float32(), st.floats(width=32)),
    "BOOL": (pa.bool_(), st.booleans()),
    "STRING": (pa.string(), TEXT),
    "BYTES": (pa.binary(), st.binary(max_size=300)),
    "UNIX_TIMESTAMP": (pa.timestamp("us", tz="UTC"), INSTANTS | WHOLE_SECONDS),
}


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUE_TYPES)))
def test_a_column_of_any_type_has_the_bytes_of_its_values(data: st.DataObject, value_type: str) -> None:
    arrow, values = SCALARS[value_type.removesuffix("_LIST")]
    if value_type.endswith("_LIST"):
        arrow, values = pa.list_(arrow), st.lists(values, max_size=5)
    column = data.draw(st.lists(st.none() | values, max_size=30))
    expected = [message(value_type, value) for value in column]
    array = pa.array(column, arrow)
    assert encode_values(array, value_type, "it").values().to_pylist() == expected
    assert encode_values(array[3:], value_type, "a part of it").values().to_pylist() == expected[3:]
    assert bytes(content(encode_values(array, value_type, "it").values())) == b"".join(expected)


@pytest.mark.parametrize(
    ("value_type", "arrow", "value", "golden"),
    [
        ("INT64", pa.int64(), 7, "2007"),
        ("DOUBLE", pa.float64(), 1.5, "29000000000000f83f"),
        ("STRING", pa.string(), "x", "120178"),
        ("BOOL", pa.bool_(), False, "3800"),
        ("INT64", pa.int64(), None, ""),
    ],
)
def test_the_values_of_feasts_documented_examples(
    value_type: str, arrow: pa.DataType, value: object, golden: str
) -> None:
    assert encode_values(pa.array([value], arrow), value_type, "it").values().to_pylist() == [bytes.fromhex(golden)]


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUE_TYPES)))
def test_a_value_has_the_bytes_that_feast_itself_would_write(data: st.DataObject, value_type: str) -> None:
    scalar = value_type.removesuffix("_LIST")
    arrow, values = SCALARS[scalar]
    # Feast writes empty bytes and empty lists as NULL, we as what they are; it rounds a second before 1970 up; NaN is
    # many bit patterns.
    values = values.filter(lambda value: value != b"" and value == value and not getattr(value, "microsecond", 0))
    if value_type.endswith("_LIST"):
        arrow, values = pa.list_(arrow), st.lists(values, min_size=1, max_size=5)
    value = data.draw(values)
    feasts = python_values_to_proto_values([value], ValueType[value_type])[0].SerializeToString()
    assert encode_values(pa.array([value], arrow), value_type, "it").values().to_pylist() == [feasts]


def test_every_type_that_is_offered_is_tested() -> None:
    assert {*SCALARS, *(f"{kind}_LIST" for kind in SCALARS)} == VALUE_TYPES


@settings(deadline=None)
@given(st.lists(INSTANTS, max_size=30))
def test_a_column_of_instants_has_the_bytes_of_each(instants: list[datetime]) -> None:
    array = pa.array(instants, pa.timestamp("us", tz="UTC"))
    assert encode_timestamps(epoch_micros(array)).values().to_pylist() == [
        encode_timestamp(instant) for instant in instants
    ]


@settings(deadline=None)
@given(st.data(), st.lists(st.sampled_from(sorted(KEY_TYPES)), min_size=1, max_size=3))
def test_keys_of_any_types_have_the_bytes_of_each(data: st.DataObject, types: list[str]) -> None:
    rows = data.draw(st.lists(st.tuples(*(SCALARS[kind][1] for kind in types)), max_size=20))
    names = [f"key_{number}" for number in range(len(types))]
    prefix = entity_key_prefix(names)
    columns = [pa.array([row[place] for row in rows], SCALARS[kind][0]) for place, kind in enumerate(types)]
    expected = [
        prefix + b"".join(entity_key_value(value, kind) for value, kind in zip(row, types, strict=True)) for row in rows
    ]
    assert encode_keys(columns, types, names, prefix).to_pylist() == expected


def test_what_the_source_has_in_another_type_is_converted() -> None:
    numeric = pa.opaque(pa.string(), "numeric", "PostgreSQL").wrap_array(pa.array(["29.85", None, "7"]))
    assert encode_values(numeric, "DOUBLE", "fee").values().to_pylist() == [
        message("DOUBLE", 29.85),
        b"",
        b")" + struct.pack("<d", 7),
    ]
    whole = pa.opaque(pa.string(), "numeric", "PostgreSQL").wrap_array(pa.array(["12.000"]))
    assert encode_values(whole, "INT64", "count").values().to_pylist() == [message("INT64", 12)]
    assert encode_values(pa.array([3], pa.int16()), "INT64", "count").values().to_pylist() == [b"\x20\x03"]


@pytest.mark.parametrize(
    ("column", "value_type"),
    [
        (pa.array(["many"]), "INT64"),
        (pa.array([1.5]), "INT64"),
        (pa.array([2**40]), "INT32"),
        (pa.array([[1]]), "BOOL"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused_by_name(column: pa.Array, value_type: str) -> None:
    with pytest.raises(DataError, match=f"clicks does not fit its defined type {value_type}"):
        encode_values(column, value_type, "clicks")


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(SCALARS)))
def test_a_null_in_a_list_is_the_default_that_feast_writes_and_is_counted(data: st.DataObject, kind: str) -> None:
    item_type, values = SCALARS[kind]
    column = data.draw(st.lists(st.none() | st.lists(st.none() | values, max_size=5), max_size=10))
    encoded = encode_values(pa.array(column, pa.list_(item_type)), f"{kind}_LIST", "clicks")
    default = _LIST_NONE_DEFAULTS[ValueType[f"{kind}_LIST"]]
    lists = [None if row is None else [default if item is None else item for item in row] for row in column]
    assert encoded.values().to_pylist() == [message(f"{kind}_LIST", row) for row in lists]
    assert encoded.defaulted == sum(row.count(None) for row in column if row is not None)


def test_a_key_that_is_null_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="join key user_id is NULL in 1 rows"):
        encode_keys([pa.array(["a", None])], ["STRING"], ["user_id"], b"")
