"""One rule says which row is current, and all who read snapshots follow it; no entity is lost by how keys are kept."""

import itertools
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Int64, String
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import materialize, postgres
from jobs.definitions import snapshot_view
from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStore
from jobs.online import repeat, source_digest
from jobs.online.current_rows import current_rows_of
from jobs.online.encoding import entity_key_prefix, entity_key_value, feature_field, timestamp_field
from jobs.online.retirement import purge_retired
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.defined_views import create, define, feast_store, insert, view_over
from tests.integration.point_in_time_support import DAY, day
from tests.offline import JANUARY, OfflineStore, dump

LATER = JANUARY + DAY
COLOUR_COLUMNS = {"tombstone": "boolean", "price": "bigint", "colour": "text"}
TIMES = {"as_of": "timestamptz", "created_at": "timestamptz"}
# Column types that keep one text in different ways, and texts that each of them can keep.
KEPT_AS = {
    ("char(10)", "text", "varchar(20)"): ["a", "b", "ab", "é'\\", "x y", "NULL", "{1}"],
    ("boolean", "text"): ["true", "false"],
    ("uuid", "text"): [str(uuid.UUID(int=number)) for number in (1, 2**64, 2**127)],
    ("integer", "text", "bigint", "numeric"): ["0", "1", "23", "-7", "123"],
    ("date", "varchar(10)"): ["2024-01-31", "1999-12-31"],
}


def key_of(names: Sequence[str], values: Sequence[str]) -> bytes:
    encoded = b"".join(entity_key_value(value, "STRING") for value in values)
    return entity_key_prefix(names) + encoded + PROJECT.encode()


def held(client: BytesRedis, key: bytes, view: str, feature: str) -> object:
    """The feature's value; None for NULL, `absent` where it is not there."""
    stored = client.hget(key, feature_field(view, feature))
    if stored is None:
        return "absent"
    value = Value.FromString(stored)
    kind = value.WhichOneof("val")
    return None if kind is None else getattr(value, kind)


def status(client: BytesRedis, view: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget(f"feature-platform:{PROJECT}:status", view) or b"{}")
    return found


# No entity is lost


@st.composite
def kept_keys(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[tuple[str, ...]]]:
    """For each join key the types of the columns that two tables keep it in, and keys that both hold."""
    ways = draw(st.lists(st.sampled_from(sorted(KEPT_AS)), min_size=1, max_size=3))
    types = [(draw(st.sampled_from(way)), draw(st.sampled_from(way))) for way in ways]
    every = list(itertools.product(*(KEPT_AS[way] for way in ways)))
    return types, draw(st.lists(st.sampled_from(every), min_size=1, max_size=12, unique=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept_keys(), st.integers(1, 6))
def test_whatever_types_two_sources_keep_a_key_in_and_however_many_partitions_an_entity_holds_both_views(
    platform: OfflineStore, redis_client: BytesRedis, kept: tuple[list[tuple[str, str]], list[tuple[str, ...]]], n: int
) -> None:
    types, keys = kept
    redis_client.flushall()
    names = [f"k{number}" for number in range(len(types))]
    for side, table in enumerate(("one", "two")):
        columns = {name: pair[side] for name, pair in zip(names, types, strict=True)}
        create(platform.connection, table, columns | TIMES | {"v": "bigint"})
        rows = [(*key, JANUARY, LATER, number) for number, key in enumerate(keys)]
        insert(platform.connection, table, rows)
    views = [view_over(table, dict.fromkeys(names, "STRING"), {"v": "INT64"}) for table in ("one", "two")]
    define(platform.connection, *views)
    assert materialize.main(["--partitions", str(n)]) == 0
    found = {key: [held(redis_client, key_of(names, key), table, "v") for table in ("one", "two")] for key in keys}
    assert found == {key: [number, number] for number, key in enumerate(keys)}
    assert materialize.main([]) == 0, "and a repeat finds each of them"


def two_views_of_one_key(platform: OfflineStore, entities: int) -> list[bytes]:
    """A view over char(10), one over text; the entities' Redis keys."""
    users = [f"user-{number}" for number in range(entities)]
    for table, kind in (("one", "char(10)"), ("two", "text")):
        create(platform.connection, table, {"k": kind} | TIMES | {"v": "bigint"})
        insert(platform.connection, table, [(user, JANUARY, LATER, 1) for user in users])
    define(platform.connection, *(view_over(table, {"k": "STRING"}, {"v": "INT64"}) for table in ("one", "two")))
    return [key_of(["k"], [user]) for user in users]


def test_the_first_run_after_an_upgrade_makes_a_store_whole_that_the_former_rule_damaged(
    platform: OfflineStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = two_views_of_one_key(platform, 40)
    monkeypatch.setattr(repeat, "SAMPLE", 0)
    with monkeypatch.context() as former:
        former.setattr(source_digest, "FORMAT", source_digest.FORMAT - 1)
        assert materialize.main([]) == 0
        whole = dump(redis_client)
        for key in keys[::2]:
            redis_client.hdel(key, feature_field("one", "v"), timestamp_field("one"))
        assert materialize.main([]) == 0
        assert dump(redis_client) != whole, "the former release saw nothing new"
    assert materialize.main([]) == 0
    assert dump(redis_client) == whole


def test_a_step_that_undoes_what_was_written_and_proven_before_fails_the_run(
    platform: OfflineStore,
    redis_client: BytesRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = two_views_of_one_key(platform, 20)

    def purge(*arguments: Any) -> Any:
        redis_client.hdel(keys[7], timestamp_field("two"))
        return purge_retired(*arguments)

    monkeypatch.setattr(materialize, "purge_retired", purge)
    assert materialize.main([]) == 1
    assert "after the last write the online store does not show what the offline store holds" in capsys.readouterr().out
    assert status(redis_client, "one") == {}
    assert redis_client.hget(f"feature-platform:{PROJECT}:plan", "version") is None


def test_the_end_state_of_all_entities_is_compared_where_that_is_asked_for(
    platform: OfflineStore,
    redis_client: BytesRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two_views_of_one_key(platform, 20)
    monkeypatch.setattr("jobs.online.key_sample.SAMPLE", 2)
    assert materialize.main(["--verify", "full"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["entities"] for line in told if line["event"] == "end_state_proven"] == [20]


def test_an_entity_of_more_columns_than_one_query_can_read_is_still_one_hash_and_its_repeat_finds_nothing_new(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {f"feature_{number}": "INT64" for number in range(90)}
    views = [view_over(f"wide_{number:02}", {"k": "STRING"}, features) for number in range(20)]
    for number, view in enumerate(views):
        create(platform.connection, view.name, {"k": "text"} | TIMES | dict.fromkeys(features, "bigint"))
        users = ["a", "b"] if number else ["b", "only in the first view"]
        insert(platform.connection, view.name, [(user, JANUARY, LATER, *range(90)) for user in users])
    define(platform.connection, *views)
    assert materialize.main([]) == 0
    assert redis_client.hlen(key_of(["k"], ["b"])) == 20 * 91
    assert redis_client.hlen(key_of(["k"], ["a"])) == 19 * 91
    assert redis_client.hlen(key_of(["k"], ["only in the first view"])) == 91
    before = dump(redis_client)
    capsys.readouterr()
    assert materialize.main([]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert dump(redis_client) == before


# One rule


def ties() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows k, as_of, created_at, tombstone, price, colour, of which many are equal in all times."""
    row = st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 2).map(day),
        st.integers(3, 4).map(day),
        st.booleans(),
        st.none() | st.integers(-11, 11),
        st.none() | st.sampled_from(["red", "RED", "blue", "é", ""]),
    )
    return st.lists(row, max_size=14)


K = Entity(name="k", join_keys=["k"], value_type=ValueType.STRING)
COLOURS = FeatureView(
    name="ties",
    entities=[K],
    ttl=3 * DAY,
    schema=[Field(name="k", dtype=String), Field(name="price", dtype=Int64), Field(name="colour", dtype=String)],
    source=PostgreSQLSource(
        name="ties",
        table="ties",
        timestamp_field="as_of",
        created_timestamp_column="created_at",
        tags={"tombstone_column": "tombstone"},
    ),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ties(), st.randoms(use_true_random=False))
def test_of_rows_with_equal_times_the_same_one_is_current_for_all_who_read_them_wherever_they_lie(
    platform: OfflineStore, tmp_path: Path, history: list[tuple[Any, ...]], random: Any
) -> None:
    store = feast_store(tmp_path, K, COLOURS)
    view = snapshot_view(store.get_feature_view("ties"))
    found = []
    for rows in (history, random.sample(history, len(history))):
        create(platform.connection, "ties", {"k": "text"} | TIMES | COLOUR_COLUMNS)
        insert(platform.connection, "ties", rows)
        with postgres.connect("test") as connection:
            current = current_rows_of(connection, view, day(2), [("a",), ("b",)])
        found.append([current.get((key,), (None, None))[:2] for key in "ab"])
        frame = pd.DataFrame({"k": ["a", "b"], "event_timestamp": pd.to_datetime([day(2)] * 2, utc=True)})
        for features in (["price", "colour"], ["colour"], ["price"]):
            asked = store.get_historical_features(frame, [f"ties:{name}" for name in features]).to_arrow()
            expected = [dict(zip(["price", "colour"], row, strict=True)) for row in found[-1]]
            assert asked.select(features).to_pylist() == [{name: row[name] for name in features} for row in expected]
    assert found[0] == found[1]


# Times of any kind


KINDS = ["date", "timestamp", "timestamptz"]


@pytest.fixture(params=["UTC", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The time zone of this process and of its sessions in Postgres, as they come."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", request.param)
        patched.setenv("PGTZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(("as_of", "created_at"), list(itertools.product(KINDS, KINDS)))
def test_a_time_column_of_any_kind_is_an_instant_in_utc_online_and_in_training(
    platform: OfflineStore,
    redis_client: BytesRedis,
    tmp_path: Path,
    as_of: str,
    created_at: str,
) -> None:
    platform.connection.execute("SET TIME ZONE 'UTC'")
    create(platform.connection, "ties", {"k": "text", "as_of": as_of, "created_at": created_at}
           | COLOUR_COLUMNS)  # fmt: skip
    rows = [("a", JANUARY - DAY, LATER, False, 1, "red"), ("a", JANUARY, LATER, False, 2, "red"),
            ("a", JANUARY, LATER + DAY, False, 3, "red"), ("a", LATER, LATER + DAY, False, 4, "red")]  # fmt: skip
    insert(platform.connection, "ties", rows)
    store = feast_store(tmp_path, K, COLOURS)
    define(platform.connection, snapshot_view(store.get_feature_view("ties")))
    assert materialize.main(["--as-of", "2024-01-31"]) == 0
    key = key_of(["k"], ["a"])
    assert held(redis_client, key, "ties", "price") == 3
    assert Timestamp.FromString(redis_client.hget(key, "_ts:ties") or b"").ToDatetime(UTC) == JANUARY
    frame = pd.DataFrame({"k": ["a", "a"], "event_timestamp": pd.to_datetime([JANUARY, LATER], utc=True)})
    found = store.get_historical_features(frame, ["ties:price"]).to_arrow()
    assert found["price"].to_pylist() == [3, 4]
    source = COLOURS.batch_source
    assert source is not None
    latest = PointInTimePostgreSQLOfflineStore.pull_latest_from_table_or_query(
        store.config, source, ["k"], ["price"], "as_of", "created_at", JANUARY - DAY, JANUARY
    )
    assert latest.to_arrow()["price"].to_pylist() == [3]
    assert materialize.main([]) == 0
    assert held(redis_client, key, "ties", "price") == 4


def test_times_named_by_what_the_field_mapping_makes_of_them_are_read(
    platform: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    create(platform.connection, "mapped", {"customer": "text", "month": "date", "known": "timestamp", "cents": "int"})
    insert(platform.connection, "mapped", [("a", JANUARY, LATER, 7), ("a", JANUARY, LATER + DAY, 8)])
    view = FeatureView(
        name="mapped",
        entities=[K],
        schema=[Field(name="k", dtype=String), Field(name="price", dtype=Int64)],
        source=PostgreSQLSource(
            name="mapped",
            table="mapped",
            timestamp_field="as_of",
            created_timestamp_column="created_at",
            field_mapping={"customer": "k", "month": "as_of", "known": "created_at", "cents": "price"},
        ),
    )
    store = feast_store(tmp_path, K, view)
    define(platform.connection, snapshot_view(store.get_feature_view("mapped")))
    assert materialize.main([]) == 0
    assert held(redis_client, key_of(["k"], ["a"]), "mapped", "price") == 8
    frame = pd.DataFrame({"k": ["a"], "event_timestamp": pd.to_datetime([JANUARY], utc=True)})
    assert store.get_historical_features(frame, ["mapped:price"]).to_arrow()["price"].to_pylist() == [8]


# NULLs that a real table has


def test_a_row_without_a_key_or_a_time_is_left_out_and_counted_and_stops_nobody(
    platform: OfflineStore, redis_client: BytesRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(
        platform.connection, "ties", {"k": "text"} | TIMES | {"tombstone": "boolean", "price": "int", "colour": "text"}
    )
    rows: list[tuple[Any, ...]] = [
        ("a", JANUARY, LATER, False, 1, "red"), (None, JANUARY, LATER, False, 2, "red"),
        ("a", None, LATER, False, 3, "red"), ("a", JANUARY, None, False, 4, "red"),
        ("b", "-infinity", LATER, False, 5, "red"), (None, JANUARY - 9 * DAY, LATER, False, 6, "too old to count"),
    ]  # fmt: skip
    insert(platform.connection, "ties", rows)
    store = feast_store(tmp_path, K, COLOURS)
    define(platform.connection, snapshot_view(store.get_feature_view("ties")))
    for flags in ([], ["--partitions", "3", "--verify", "full"], []):
        capsys.readouterr()
        assert materialize.main(flags) == 0
        assert "4 rows left out for want of a key or time" in capsys.readouterr().out
        assert status(redis_client, "ties")["left_out_rows"] == 4
        assert held(redis_client, key_of(["k"], ["a"]), "ties", "price") == 1
    assert [key for key in dump(redis_client) if not key.startswith(b"feature-platform")] == [key_of(["k"], ["a"])]
    frame = pd.DataFrame({"k": ["a", None, "b"], "event_timestamp": pd.to_datetime([LATER] * 3, utc=True)})
    found = store.get_historical_features(frame, ["ties:price"]).to_arrow()
    assert found["price"].to_pylist() == [1, None, None]


def test_a_null_in_a_list_is_feasts_default_online_and_in_training_and_is_counted(
    platform: OfflineStore, redis_client: BytesRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(platform.connection, "lists", {"k": "text"} | TIMES | {"counts": "bigint[]", "names": "text[]"})
    insert(platform.connection, "lists", [("a", JANUARY, LATER, [1, None, 3], [None]), ("b", JANUARY, LATER, None, [])])
    view = FeatureView(
        name="lists",
        entities=[K],
        schema=[Field(name="k", dtype=String), Field(name="counts", dtype=Array(Int64)),
                Field(name="names", dtype=Array(String))],
        source=PostgreSQLSource(
            name="lists", table="lists", timestamp_field="as_of", created_timestamp_column="created_at"
        ),
    )  # fmt: skip
    store = feast_store(tmp_path, K, view)
    define(platform.connection, snapshot_view(store.get_feature_view("lists")))
    for _ in range(2):
        assert materialize.main([]) == 0
        assert "2 NULLs in lists replaced by defaults" in capsys.readouterr().out
        assert status(redis_client, "lists")["defaulted_elements"] == 2
    online = {user: [held(redis_client, key_of(["k"], [user]), "lists", name) for name in ("counts", "names")]
              for user in "ab"}  # fmt: skip
    assert [list(value.val) for value in online["a"]] == [[1, 0, 3], [""]]  # type: ignore[attr-defined]
    frame = pd.DataFrame({"k": ["a", "b"], "event_timestamp": pd.to_datetime([LATER] * 2, utc=True)})
    found = store.get_historical_features(frame, ["lists:counts", "lists:names"]).to_arrow().to_pylist()
    assert [(row["counts"], row["names"]) for row in found] == [([1, 0, 3], [""]), (None, [])]


# Keys compare as their bytes do


@pytest.mark.parametrize("entity_rows", ["frame", "query"])
@pytest.mark.parametrize("kept", ["uuid", "char(40)", "text COLLATE any_case"])
def test_training_finds_a_key_just_where_the_online_store_does_whatever_the_columns_type(
    platform: OfflineStore, redis_client: BytesRedis, tmp_path: Path, kept: str, entity_rows: str
) -> None:
    platform.connection.execute(
        "CREATE COLLATION offline.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    )
    platform.connection.execute("SET search_path = offline")
    create(
        platform.connection, "ties", {"k": kept} | TIMES | {"tombstone": "boolean", "price": "int", "colour": "text"}
    )
    key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    insert(platform.connection, "ties", [(key, JANUARY, LATER, False, 1, "red")])
    store = feast_store(tmp_path, K, COLOURS)
    define(platform.connection, snapshot_view(store.get_feature_view("ties")))
    assert materialize.main([]) == 0
    assert materialize.main([]) == 0
    online = [held(redis_client, key_of(["k"], [asked]), "ties", "price") for asked in (key, key.upper())]
    assert online == [1, "absent"]
    entities: Any = pd.DataFrame({"k": [key, key.upper()], "event_timestamp": pd.to_datetime([LATER] * 2, utc=True)})
    if entity_rows == "query":
        as_kept = "::uuid" if kept == "uuid" else ""
        entities = f"SELECT '{key}'{as_kept} AS k, '{LATER}'::timestamptz AS event_timestamp"
    found = store.get_historical_features(entities, ["ties:price"]).to_arrow()["price"].to_pylist()
    assert found == ([1] if entity_rows == "query" else [1, None])
