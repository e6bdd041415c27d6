"""Keys and values are Feast's own bytes: golden ones, and property tests against Feast's encoder."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from hypothesis import given
from hypothesis import strategies as st

from api import entity_key, value
from api.entity_key import JoinKey
from api.problems import InvalidRequest

USER = JoinKey("user_id", "STRING")
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
DOUBLE = st.floats(allow_nan=False)
FLOAT = st.floats(allow_nan=False, width=32)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bytes": st.binary(),
    "string": st.text(),
    "int32": INT32,
    "int64": INT64,
    "double": DOUBLE,
    "float": FLOAT,
    "bool": st.booleans(),
    "unix_timestamp": INT64,
}
TEXTS = ("json", "uuid", "time_uuid", "decimal")


def redis_key(keys: Sequence[JoinKey], row: dict[str, str | int], project: str) -> bytes:
    values = b"".join(entity_key.encode_value(key, row[key.name]) for key in keys)
    return entity_key.prefix(keys) + values + project.encode()


def expected(kind: str, item: Any) -> Any:
    return base64.b64encode(item).decode() if kind == "bytes" else item


def test_the_key_of_a_user_has_the_golden_bytes() -> None:
    golden = "010000000200000007000000757365725f696402000000040000007531323364656d6f"
    assert redis_key([USER], {"user_id": "u123"}, "demo").hex() == golden


@pytest.mark.parametrize(
    ("data", "decoded"),
    [
        ("2007", 7),
        ("29000000000000f83f", 1.5),
        ("120178", "x"),
        ("3800", False),
        ("", None),
        ("20ffffffffffffffffff01", -1),
        ("980100", None),
    ],
)
def test_values_have_the_golden_bytes(data: str, decoded: Any) -> None:
    assert value.decode(bytes.fromhex(data)) == decoded


@given(st.text(min_size=1, max_size=1024), st.text(min_size=1, max_size=50), st.text(max_size=20))
def test_text_keys_are_those_of_feast(name: str, user: str, project: str) -> None:
    key = JoinKey(name, "STRING")
    ours = redis_key([key], {name: entity_key.parse(key, user)}, project)
    assert ours == _redis_key(project, EntityKey(join_keys=[name], entity_values=[Value(string_val=user)]))


@given(INT32, INT64, INT64, st.binary(min_size=1, max_size=100), st.text(min_size=1, max_size=100))
def test_composite_keys_of_every_type_are_those_of_feast(a: int, b: int, c: int, d: bytes, e: str) -> None:
    keys = [
        JoinKey("a", "INT32"),
        JoinKey("b", "INT64"),
        JoinKey("c", "UNIX_TIMESTAMP"),
        JoinKey("d", "BYTES"),
        JoinKey("e", "STRING"),
    ]
    values = [
        Value(int32_val=a),
        Value(int64_val=b),
        Value(unix_timestamp_val=c),
        Value(bytes_val=d),
        Value(string_val=e),
    ]
    sent = [a, str(b), c, base64.b64encode(d).decode(), e]
    row = {key.name: entity_key.parse(key, item) for key, item in zip(keys, sent, strict=True)}
    feast = EntityKey(join_keys=["e", "d", "c", "b", "a"], entity_values=values[::-1])
    assert redis_key(keys, row, "p") == _redis_key("p", feast)


def test_a_view_without_entities_is_under_feasts_dummy_key() -> None:
    feast = EntityKey(join_keys=["__dummy_id"], entity_values=[Value(string_val="")])
    assert redis_key([entity_key.ENTITY_LESS], {"__dummy_id": ""}, "p") == _redis_key("p", feast)


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        (USER, ""),
        (USER, None),
        (USER, 7),
        (USER, True),
        (USER, ["u1"]),
        (USER, {"a": 1}),
        (USER, "x" * 1025),
        (USER, "é" * 513),
        (USER, "\ud800"),
        (JoinKey("n", "INT64"), 2**63),
        (JoinKey("n", "INT64"), -(2**63) - 1),
        (JoinKey("n", "INT64"), "9" * 5000),
        (JoinKey("n", "INT64"), "1.0"),
        (JoinKey("n", "INT64"), "٣"),
        (JoinKey("n", "INT64"), ""),
        (JoinKey("n", "INT64"), 1.0),
        (JoinKey("n", "INT64"), True),
        (JoinKey("n", "INT32"), 2**31),
        (JoinKey("n", "BYTES"), "no base64!"),
        (JoinKey("n", "BYTES"), "é"),
    ],
)
def test_a_join_key_of_the_wrong_kind_is_refused_by_name(key: JoinKey, sent: Any) -> None:
    with pytest.raises(InvalidRequest, match=key.name):
        entity_key.parse(key, sent)


def test_an_id_may_be_as_long_as_the_limit() -> None:
    assert entity_key.parse(USER, "é" * 512) == "é" * 512


@given(st.data(), st.sampled_from(sorted(SCALARS)))
def test_scalars_decode_to_what_feast_encoded(data: st.DataObject, kind: str) -> None:
    item = data.draw(SCALARS[kind])
    encoded = Value(**{f"{kind}_val": item}).SerializeToString()
    assert value.decode(encoded) == expected(kind, item)


@given(st.data(), st.sampled_from(sorted(SCALARS)), st.sampled_from(["list", "set"]))
def test_lists_and_sets_decode_to_what_feast_encoded(data: st.DataObject, kind: str, form: str) -> None:
    items = data.draw(st.lists(SCALARS[kind], max_size=20))
    message = Value()
    field = getattr(message, f"{kind}_{form}_val")
    field.SetInParent()
    field.val.extend(items)
    assert value.decode(message.SerializeToString()) == [expected(kind, item) for item in items]


@given(st.text(), st.sampled_from(TEXTS))
def test_types_that_are_text_decode_to_text(text: str, kind: str) -> None:
    message = Value(**{f"{kind}_val": text})  # type: ignore[arg-type]
    assert value.decode(message.SerializeToString()) == text


@given(st.dictionaries(st.text(), INT64, max_size=5), st.lists(st.lists(st.text(), max_size=3), max_size=3))
def test_nested_values_decode_to_what_feast_encoded(entries: dict[str, int], lists: list[list[str]]) -> None:
    message = Value()
    message.map_val.SetInParent()
    for name, number in entries.items():
        message.map_val.val[name].int64_val = number
    assert value.decode(message.SerializeToString()) == entries
    nested = RepeatedValue()
    for texts in lists:
        inner = nested.val.add().string_list_val
        inner.SetInParent()
        inner.val.extend(texts)
    assert value.decode(Value(list_val=nested).SerializeToString()) == lists


def test_nan_and_infinities_stay_floats() -> None:
    assert math.isnan(value.decode(Value(double_val=math.nan).SerializeToString()))
    assert value.decode(Value(float_val=-math.inf).SerializeToString()) == -math.inf


@given(st.integers(-62135596800, 253402300799), st.integers(0, 999_999_999))
def test_timestamps_decode_to_nanoseconds(seconds: int, nanos: int) -> None:
    message = GetOnlineFeaturesResponse.FeatureVector().event_timestamps.add()
    message.seconds, message.nanos = seconds, nanos
    assert value.decode_timestamp(message.SerializeToString()) == seconds * 1_000_000_000 + nanos


@pytest.mark.parametrize("decode", [value.decode, value.decode_timestamp])
@given(data=st.binary(max_size=40))
def test_any_bytes_decode_or_are_refused(decode: Callable[[bytes], Any], data: bytes) -> None:
    try:
        decode(data)
    except value.MalformedValue:
        return


@pytest.mark.parametrize(
    "data", ["12057878", "29", "20", "0a", "2a0a0000", "fa0f0178", "80" * 11, "1202ffff", "6a03ffffff"]
)
def test_cut_or_foreign_bytes_are_refused(data: str) -> None:
    with pytest.raises(value.MalformedValue):
        value.decode(bytes.fromhex(data))
