"""Keys, fields and timestamps are Feast's own bytes: golden ones from its documents, any others against its encoder."""

from datetime import UTC, datetime
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.online.columns import binaries
from jobs.online.encoding import (
    ENTITYLESS_JOIN_KEY,
    encode_timestamp,
    entity_key_prefix,
    entity_key_value,
    entity_key_values,
    feature_field,
    timestamp_field,
)
from jobs.online.key_scan import are_of_project

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=2000)
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001
KEYS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "STRING": ("string_val", TEXT),
    "BYTES": ("bytes_val", st.binary(max_size=2000)),
    "INT32": ("int32_val", INT32),
    "INT64": ("int64_val", INT64),
}


def our_key(values: list[tuple[str, Any, str]], project: str) -> bytes:
    ordered = sorted(values)
    prefix = entity_key_prefix([name for name, _, _ in ordered])
    return prefix + b"".join(entity_key_value(value, kind) for _, value, kind in ordered) + project.encode()


def test_the_key_of_the_documented_example() -> None:
    golden = "010000000200000007000000757365725f696402000000040000007531323364656d6f"
    assert our_key([("user_id", "u123", "STRING")], "demo").hex() == golden


def test_the_field_of_the_documented_example() -> None:
    assert feature_field("user_stats", "a").hex() == "1cf505c4"
    assert timestamp_field("user_stats") == b"_ts:user_stats"


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=60),
        st.sampled_from(sorted(KEYS)).flatmap(lambda kind: st.tuples(st.just(kind), KEYS[kind][1])),
        min_size=1,
        max_size=4,
    ),
    st.text(min_size=1, max_size=30),
)
def test_any_entity_key_is_feasts_and_its_project_is_found_again(
    entity: dict[str, tuple[str, Any]], project: str
) -> None:
    proto = EntityKey(
        join_keys=list(entity), entity_values=[Value(**{KEYS[kind][0]: value}) for kind, value in entity.values()]
    )
    ours = our_key([(name, value, kind) for name, (kind, value) in entity.items()], project)
    assert ours == _redis_key(project, proto)
    prefix = entity_key_prefix(sorted(entity))
    keys = binaries([ours, ours + b"x", b"x" + ours])
    assert are_of_project(keys, project).tolist() == [True, False, False]
    assert are_of_project(keys[:2], project, prefix).tolist() == [True, False]
    assert are_of_project(keys[1:2], project + "x", prefix).tolist() == [True]
    assert not are_of_project(keys[:1], project + "x", prefix).any()
    expected = tuple(value for _, (_, value) in sorted(entity.items()))
    assert entity_key_values(ours, len(prefix), [entity[name][0] for name in sorted(entity)]) == expected


def test_the_key_of_a_view_without_entities_is_feasts() -> None:
    dummy = EntityKey(join_keys=[ENTITYLESS_JOIN_KEY], entity_values=[Value(string_val="")])
    assert our_key([(ENTITYLESS_JOIN_KEY, "", "STRING")], "") == serialize_entity_key(dummy)


@given(st.binary(max_size=200))
@example(b"feature-platform:streamflow:plan")
@example(b"")
def test_bytes_that_are_no_entity_key_are_of_no_project(key: bytes) -> None:
    assert not are_of_project(binaries([b"", key, b""]), "streamflow").any()


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_any_field_is_feasts(view: str, feature: str) -> None:
    assert feature_field(view, feature) == _mmh3(f"{view}:{feature}")


@given(INSTANTS)
@example(datetime(1970, 1, 1, tzinfo=UTC))
@example(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
def test_any_timestamp_is_protobufs(instant: datetime) -> None:
    proto = Timestamp()
    proto.FromDatetime(instant)
    assert encode_timestamp(instant) == proto.SerializeToString()
