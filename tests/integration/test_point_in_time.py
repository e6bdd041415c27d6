"""`get_historical_features` on our offline store: stock Feast's answers where these are right, right ones elsewhere."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field
from feast.errors import FeastEntityDFMissingColumnsError, InvalidEntityType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String, UnixTimestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.feast_plugins import join
from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStore, PointInTimePostgreSQLOfflineStoreConfig
from jobs.feast_plugins.sessions import exported_snapshot
from tests.integration.point_in_time_support import (
    DAY,
    GRACE,
    OURS,
    Asked,
    Key,
    Prices,
    Row,
    column,
    day,
    expected_price,
    frame,
    item,
    prices_view,
    shop,
    source,
    values,
)

TTL = 3 * DAY
LIMITED = prices_view("limited_fv", ttl=TTL)
FOREVER = prices_view("forever_fv")
PRICE = ["limited_fv:price"]
BOTH = ["limited_fv:price", "forever_fv:price"]
A: Key = ("a", "1")

KEYS: list[Key] = [("1", "23"), ("12", "3"), ("123", ""), ("", "123"), ("é'\\", '{"x",NULL}'), ("NULL", "%s")]
hours = st.integers(0, 8 * 4).map(lambda quarter: day(quarter / 4))


def histories(keys: list[Key], *, tombstones: bool, max_lag: int) -> st.SearchStrategy[list[Row]]:
    row = st.builds(
        lambda key, as_of, lag, price, tombstone: Row(key, as_of, as_of + lag * DAY, price, tombstone),
        st.sampled_from(keys),
        st.integers(0, 6).map(day),
        st.integers(0, max_lag),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.booleans() if tombstones else st.just(False),
    )
    return st.lists(row, max_size=25, unique_by=lambda row: (row.key, row.as_of, row.created_at))


def questions(keys: list[Key]) -> st.SearchStrategy[list[Asked]]:
    return st.lists(st.builds(Asked, st.sampled_from(keys), hours), min_size=1, max_size=12)


WAYS = {"in memory": 10**12, "in Postgres": 0}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two ways to join always the one, whatever the sizes."""
    monkeypatch.setattr(join, "ROWS_PER_ENTITY_ROW", WAYS[request.param])


@pytest.fixture
def prices(connection: psycopg.Connection, tmp_path: Path, way: None) -> Prices:
    return Prices(connection, tmp_path)


@pytest.fixture
def ours(prices: Prices) -> FeatureStore:
    return prices.store(OURS, [shop, item, LIMITED, FOREVER])


@pytest.fixture
def stock(prices: Prices) -> FeatureStore:
    return prices.store("postgres", [shop, item, LIMITED, FOREVER])


# What is refused


@pytest.mark.parametrize("grace_days", [-1, "soon"])
def test_a_grace_that_is_no_number_of_days_is_refused(grace_days: object) -> None:
    with pytest.raises(ValidationError, match="grace_days"):
        PointInTimePostgreSQLOfflineStoreConfig.model_validate({"type": OURS, "grace_days": grace_days})


def test_a_frame_without_a_join_key_is_refused_by_name(ours: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="item"):
        ours.get_historical_features(frame([Asked(A, day(1))]).drop(columns="item"), PRICE)


def test_a_frame_with_a_column_named_like_a_feature_is_refused(ours: FeatureStore) -> None:
    with pytest.raises(ValueError, match="named like requested features: price"):
        ours.get_historical_features(frame([Asked(A, day(1))]).assign(price=1), PRICE)


def test_what_is_neither_frame_nor_query_is_refused(ours: FeatureStore) -> None:
    with pytest.raises(InvalidEntityType):
        ours.get_historical_features([("a", "1")], PRICE)  # type: ignore[arg-type]


def test_a_value_that_does_not_fit_its_definition_is_refused_and_named(prices: Prices) -> None:
    prices.connection.execute("CREATE TABLE offline.odd (shop text, item text, as_of timestamptz, price numeric)")
    prices.connection.execute("INSERT INTO offline.odd VALUES ('a', '1', %s, 1.5)", (day(1),))
    odd = source("odd", tombstones=False, table="odd", created_timestamp_column="")
    store = prices.store(OURS, [shop, item, prices_view(source=odd)])
    with pytest.raises(ValueError, match="column price does not fit its defined type int64"):
        values(store, [Asked(A, day(1))], ["prices_fv:price"])


# Right in both times


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(KEYS, tombstones=True, max_lag=14), questions(KEYS))
def test_any_history_reads_as_the_slow_and_obvious_rule_says(
    prices: Prices, ours: FeatureStore, history: list[Row], asked: list[Asked]
) -> None:
    prices.fill(history)
    rows = values(ours, asked, BOTH, full_feature_names=True)
    assert column(rows, "limited_fv__price") == [expected_price(history, one, ttl=TTL) for one in asked]
    assert column(rows, "forever_fv__price") == [expected_price(history, one, ttl=None) for one in asked]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories([("a", "1"), ("b", "2")], tombstones=False, max_lag=7), questions([("a", "1"), ("b", "2")]))
def test_where_stock_feast_is_right_the_answers_are_the_same(
    prices: Prices, ours: FeatureStore, stock: FeatureStore, history: list[Row], asked: list[Asked]
) -> None:
    # Keys that stay apart when joined together, nothing withdrawn, and all known within the grace; asked once each,
    # because stock Feast multiplies entity rows that are the same.
    asked = list(dict.fromkeys(asked))
    prices.fill(history)
    for flags in ({}, {"filter_by_created_timestamp": True}):
        rows = [values(store, asked, BOTH, full_feature_names=True, **flags) for store in (ours, stock)]
        assert _canonical(rows[0]) == _canonical(rows[1])


def test_without_a_grace_only_what_was_known_at_the_instant_counts(prices: Prices) -> None:
    store = prices.store(OURS, [shop, item, FOREVER], grace_days=0)
    prices.fill([Row(A, day(0), day(0), 1), Row(A, day(1), day(2), 2)])
    asked = [Asked(A, day(1)), Asked(A, day(2))]
    assert column(values(store, asked, ["forever_fv:price"]), "price") == [1, 2]


def test_keys_that_read_the_same_when_joined_together_stay_apart(
    prices: Prices, ours: FeatureStore, stock: FeatureStore
) -> None:
    one, other = Asked(("1", "23"), day(1)), Asked(("12", "3"), day(1))
    prices.fill([Row(one.key, day(1), day(1), 1), Row(other.key, day(1), day(1), 12)])
    assert column(values(ours, [one, other], PRICE), "price") == [1, 12]
    assert column(values(stock, [one, other], PRICE), "price") != [1, 12]


def test_rows_of_equal_times_never_multiply_and_the_same_one_wins_wherever_it_lies(
    prices: Prices, ours: FeatureStore, stock: FeatureStore
) -> None:
    ties = [Row(A, day(1), day(1), price) for price in (1, 2, 3)]
    found = []
    for order in (ties, ties[::-1]):
        prices.fill(order)
        found.append(column(values(ours, [Asked(A, day(1))], PRICE), "price"))
    assert found == [[1], [1]]
    assert len(values(stock, [Asked(A, day(1))], PRICE)) == 3


def test_a_late_correction_does_not_leak_into_rows_before_it_was_known(
    prices: Prices, ours: FeatureStore, stock: FeatureStore
) -> None:
    late = day(1) + GRACE + timedelta(microseconds=1)
    prices.fill([Row(A, day(1), day(1), 1), Row(A, day(1), late, 2)])
    asked = [Asked(A, day(1)), Asked(A, day(1) + timedelta(microseconds=1))]
    assert column(values(ours, asked, PRICE), "price") == [1, 2]
    assert column(values(stock, asked, PRICE), "price") == [2, 2]


def test_a_withdrawn_row_reads_as_if_it_had_never_been(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(0), day(0), 1), Row(A, day(2), day(2), 2), Row(A, day(2), day(3), None, tombstone=True)])
    assert column(values(ours, [Asked(A, day(2))], PRICE), "price") == [1]
    prices.fill([Row(A, day(2), day(2), None, tombstone=True), Row(A, day(2), day(3), 3)])
    assert column(values(ours, [Asked(A, day(2))], PRICE), "price") == [3]


def test_a_row_as_old_as_the_ttl_counts_and_an_older_one_does_not(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(0), day(0), 1)])
    asked = [Asked(A, day(0) + TTL), Asked(A, day(0) + TTL + timedelta(microseconds=1))]
    assert column(values(ours, asked, PRICE), "price") == [1, None]


def test_the_time_zone_of_the_server_changes_nothing(prices: Prices, ours: FeatureStore) -> None:
    prices.connection.execute(f"ALTER DATABASE {prices.connection.info.dbname} SET TimeZone = 'Pacific/Kiritimati'")
    prices.connection.execute("CREATE TABLE offline.naive (shop text, item text, as_of timestamp, price bigint)")
    prices.connection.execute("INSERT INTO offline.naive VALUES ('a', '1', '2024-01-02 00:00', 5)")
    naive = source("naive", tombstones=False, table="naive", created_timestamp_column="")
    ours.apply([prices_view("naive_fv", source=naive)])
    asked = [Asked(A, day(1) - timedelta(hours=1)), Asked(A, day(1))]
    assert column(values(ours, asked, ["naive_fv:price"]), "price") == [None, 5]


def test_of_rows_of_equal_times_the_first_by_its_bytes_counts_whatever_the_collation(prices: Prices) -> None:
    connection = prices.connection
    connection.execute('CREATE TABLE offline.names (shop text, as_of timestamptz, name text COLLATE "und-x-icu")')
    connection.execute("INSERT INTO offline.names SELECT 'a', %s, unnest(ARRAY['Z', 'a', 'é'])", (day(1),))
    connection.execute("INSERT INTO offline.names VALUES ('b', %s, 'alone'), (NULL, %s, 'nobody')", (day(1), day(1)))
    names = FeatureView(
        name="names_fv", entities=[shop], schema=[Field(name="shop", dtype=String), Field(name="name", dtype=String)],
        source=source("names", tombstones=False, table="names", created_timestamp_column=""),
    )  # fmt: skip
    store = prices.store(OURS, [shop, names])
    asked = [Asked(("b", "1"), day(1)), Asked(A, day(1))]
    assert column(values(store, asked, ["names_fv:name"]), "name") == ["alone", "Z"]


def test_a_row_known_since_ever_counts_and_one_never_known_does_not(prices: Prices, ours: FeatureStore) -> None:
    prices.connection.execute(
        "INSERT INTO offline.prices VALUES ('a', '1', %s, '-infinity', false, 1), ('a', '1', %s, 'infinity', false, 2)",
        (day(1), day(2)),
    )
    assert column(values(ours, [Asked(A, day(3))], PRICE), "price") == [1]


def test_rows_known_too_late_are_passed_over_however_many_they_are(prices: Prices, ours: FeatureStore) -> None:
    late = [Row(A, day(1) + number * timedelta(minutes=1), day(30), 2) for number in range(500)]
    prices.fill([Row(A, day(1) - timedelta(minutes=1), day(1), 1), *late])
    assert column(values(ours, [Asked(A, day(2)), Asked(A, day(40))], BOTH, full_feature_names=True),
                  "forever_fv__price") == [1, 2]  # fmt: skip


# Part by part


@pytest.mark.parametrize("rows", [1, 3])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(KEYS, tombstones=True, max_lag=14), questions(KEYS))
def test_the_parts_are_the_whole_by_key_and_instant_and_no_key_is_in_two(
    prices: Prices, ours: FeatureStore, rows: int, history: list[Row], asked: list[Asked]
) -> None:
    prices.fill(history)
    whole = values(ours, asked, BOTH, full_feature_names=True)
    job: Any = ours.get_historical_features(frame(asked), BOTH, full_feature_names=True)
    found = [part.to_pylist() for part in job.parts(rows)]
    in_order = sorted(whole, key=lambda row: (row["shop"].encode(), row["item"].encode(), row["event_timestamp"]))
    assert [row for part in found for row in part] == in_order
    keys = [{(row["shop"], row["item"]) for row in part} for part in found]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_parts_of_a_query_hold_keys_that_are_null_and_views_with_fewer_keys_and_on_demand_features(
    prices: Prices, ours: FeatureStore
) -> None:
    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[FOREVER], schema=[Field(name="doubled", dtype=Float64)], mode="python"
    )
    def doubled_odfv(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"doubled": [None if price is None else 2.0 * price for price in inputs["price"]]}

    market = FeatureView(
        name="market_fv", entities=[], schema=[Field(name="price", dtype=Int64)], source=source("market")
    )
    ours.apply([market, doubled_odfv])
    prices.fill([Row(A, day(1), day(1), 1), Row(("Z", "1"), day(2), day(2), 2)])
    query = """SELECT shop, item, '2024-01-03Z'::timestamptz AS event_timestamp
               FROM (VALUES ('a', '1'), (NULL, '1'), ('Z', '1')) AS v(shop, item)"""
    wanted = ["forever_fv:price", "market_fv:price", "doubled_odfv:doubled"]
    job: Any = ours.get_historical_features(query, wanted, full_feature_names=True)
    found = pa.concat_tables(job.parts(1)).to_pylist()
    assert column(found, "shop") == ["Z", "a", None]
    assert column(found, "forever_fv__price") == [2, 1, None]
    assert column(found, "market_fv__price") == [2, 2, 2]
    assert column(found, "doubled_odfv__doubled") == [4.0, 2.0, None]


@pytest.mark.parametrize("way", ["in memory"], indirect=True)
def test_a_million_entity_rows_are_joined_in_seconds(prices: Prices) -> None:
    prices.connection.execute(
        """INSERT INTO offline.prices SELECT n::text, '1', %s, %s, false, n FROM generate_series(1, 100000) AS n""",
        (day(1), day(1)),
    )
    prices.connection.execute("ANALYZE offline.prices")
    store = prices.store(OURS, [shop, item, FOREVER])
    keys = [str(number % 125_000) for number in range(1_000_000)]
    entity_df = pd.DataFrame({"shop": keys, "item": "1", "event_timestamp": pd.Timestamp(day(2))})
    table = pa.Table.from_pandas(entity_df, preserve_index=False)
    found = store.get_historical_features(table, ["forever_fv:price"]).to_arrow()
    assert found["shop"].to_pylist() == keys
    known = [number % 125_000 for number in range(1_000_000)]
    assert found["price"].to_pylist() == [number if 0 < number <= 100_000 else None for number in known]


# Entity rows


def test_the_frame_comes_back_whole_and_in_its_order(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(0), day(0), 1)])
    entity_df = frame([Asked(A, day(2)), Asked(("z", "z"), day(1)), Asked(A, day(0)), Asked(A, day(2))])
    entity_df = entity_df.assign(
        note=pd.Series(["x", None, 'é"', ""]),
        big=pd.Series([2**53 + 1, None, 3, 4], dtype="Int64"),
        yes=pd.Series([True, None, False, True]),
    ).set_index(pd.Index([9, 9, 3, 1]))
    result = ours.get_historical_features(entity_df, PRICE).to_arrow()
    given = pa.Table.from_pandas(entity_df, preserve_index=False)
    assert result.select(given.column_names).to_pylist() == given.to_pylist()
    assert result["price"].to_pylist() == [1, None, 1, 1]


def test_an_empty_frame_gives_an_empty_answer_of_the_same_columns(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(0), day(0), 1)])
    result = ours.get_historical_features(frame([]), PRICE).to_arrow()
    assert result.num_rows == 0
    assert result.column_names == ["shop", "item", "event_timestamp", "price"]


def test_a_parquet_file_of_entity_rows_gives_what_its_rows_give(
    prices: Prices, ours: FeatureStore, tmp_path: Path
) -> None:
    prices.fill([Row(A, day(0), day(0), 1)])
    entity_df = frame([Asked(A, day(2)), Asked(("z", "z"), day(1))])
    file = tmp_path / "entities.parquet"
    entity_df.to_parquet(file)
    given: Any = file
    found = ours.get_historical_features(given, PRICE).to_arrow()
    assert found.equals(ours.get_historical_features(entity_df, PRICE).to_arrow())


def test_a_file_that_holds_no_entity_rows_is_named(ours: FeatureStore, tmp_path: Path) -> None:
    file: Any = tmp_path / "entities.parquet"
    with pytest.raises(FileNotFoundError, match=r"entities\.parquet"):
        ours.get_historical_features(file, PRICE)
    file.write_text("user_id,event_timestamp\n")
    with pytest.raises(ValueError, match=r"entities\.parquet cannot be read as Parquet"):
        ours.get_historical_features(file, PRICE)


def test_a_query_and_a_frame_of_the_same_rows_give_the_same_answer(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(0), day(0), 1), Row(("b", "1"), day(1), day(1), 2)])
    asked = [Asked(("b", "1"), day(2)), Asked(A, day(1)), Asked(A, day(1))]
    rows = ", ".join(f"({n}, '{one.key[0]}', '{one.key[1]}', '{one.t}'::timestamptz)" for n, one in enumerate(asked))
    query = f"""SELECT shop, item, event_timestamp, 'a%b' AS note
                FROM (VALUES {rows}) AS v(n, shop, item, event_timestamp) ORDER BY n ; -- the end"""
    found = values(ours, query.replace("; -- the end", "-- the end"), PRICE)
    assert found == [one | {"note": "a%b"} | {"price": one["price"]} for one in values(ours, asked, PRICE)]
    assert values(ours, query.replace("-- the end", ""), PRICE) == found


def test_an_instant_of_another_name_and_naive_or_textual_instants_are_read_as_utc(
    prices: Prices, ours: FeatureStore
) -> None:
    prices.fill([Row(A, day(1), day(1), 1)])
    aware = frame([Asked(A, day(1))])
    naive = aware.assign(event_timestamp=aware.event_timestamp.dt.tz_localize(None))
    text = aware.assign(event_timestamp="2024-01-02T00:00:00")
    for entity_df in (aware, naive, text, aware.rename(columns={"event_timestamp": "at"})):
        assert column(values(ours, entity_df, PRICE), "price") == [1]


def test_the_job_tells_what_was_asked_and_its_sql_stands_alone(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(1), day(1), 7)])
    asked = frame([Asked(A, day(3)), Asked(A, day(1))])
    job = ours.get_historical_features(asked, PRICE)
    with prices.connection.transaction():
        prices.connection.execute("SET LOCAL search_path = offline")
        assert prices.connection.execute(job.to_sql()).fetchall() == [(7,), (7,)]
    assert job.metadata is not None
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (day(1), day(3))
    assert job.metadata.keys == ["shop", "item"]


# Sources and definitions


def test_sources_by_query_with_mapped_names_and_without_created_at(prices: Prices) -> None:
    prices.fill([Row(A, day(1), day(99), 5), Row(("b", "1"), day(1), day(99), 6)])
    mapped = source(
        "mapped",
        tombstones=False,
        table=None,
        query="SELECT shop AS s, item, as_of AS at, price AS p FROM prices WHERE shop LIKE 'a%'",
        timestamp_field="at",
        created_timestamp_column="",
        field_mapping={"s": "shop", "p": "price"},
    )
    store = prices.store(OURS, [shop, item, prices_view(source=mapped)])
    asked = [Asked(A, day(1)), Asked(("b", "1"), day(1))]
    assert column(values(store, asked, ["prices_fv:price"]), "price") == [5, None]


def test_a_view_under_two_aliases_is_joined_by_two_keys(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(("a", "1"), day(1), day(1), 1), Row(("b", "1"), day(1), day(1), 2)])
    service = FeatureService(
        name="route",
        features=[
            FOREVER.with_name("here").with_join_key_map({"shop": "from_shop"}),
            FOREVER.with_name("there").with_join_key_map({"shop": "to_shop"}),
        ],
    )
    ours.apply([service])
    asked = frame([Asked(("a", "1"), day(1))]).rename(columns={"shop": "from_shop"}).assign(to_shop="b")
    row = ours.get_historical_features(asked, service, full_feature_names=True).to_arrow().to_pylist()[0]
    assert (row["here__price"], row["there__price"]) == (1, 2)


def test_a_view_without_entities_is_the_same_for_every_row(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(1), day(1), 1), Row(A, day(2), day(2), 2)])
    view = FeatureView(
        name="market_fv", entities=[], schema=[Field(name="price", dtype=Int64)], source=source("market")
    )
    ours.apply([view])
    asked = [Asked(("x", "x"), day(1)), Asked(("y", "y"), day(5))]
    assert column(values(ours, asked, ["market_fv:price"]), "price") == [1, 2]


def test_names_longer_than_postgres_allows_stay_whole(prices: Prices) -> None:
    name = "a_view_whose_name_alone_is_nearly_as_long_as_postgres_allows"
    store = prices.store(OURS, [shop, item, prices_view(name)])
    prices.fill([Row(A, day(1), day(1), 1)])
    found = values(store, [Asked(A, day(1))], [f"{name}:price"], full_feature_names=True)
    assert column(found, f"{name}__price") == [1]


def test_on_demand_features_are_computed_from_the_joined_ones(prices: Prices, ours: FeatureStore) -> None:
    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[FOREVER], schema=[Field(name="doubled", dtype=Float64)], mode="python"
    )
    def doubled_odfv(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"doubled": [None if price is None else 2.0 * price for price in inputs["price"]]}

    ours.apply([doubled_odfv])
    prices.fill([Row(A, day(1), day(1), 21)])
    asked = [Asked(A, day(1)), Asked(("z", "z"), day(1))]
    found = values(ours, asked, ["doubled_odfv:doubled"])
    assert column(found, "doubled") == [42.0, None]


def test_columns_have_the_types_of_the_definition(prices: Prices) -> None:
    prices.connection.execute(
        """CREATE TABLE offline.kinds (shop text, as_of timestamptz, small integer, exact numeric, at timestamptz,
                                       many bigint[], id uuid)"""
    )
    prices.connection.execute(
        "INSERT INTO offline.kinds VALUES ('a', %s, 1, 29.85, %s, '{1,2}', '00000000-0000-0000-0000-000000000001')",
        (day(1), day(0)),
    )
    kinds = FeatureView(
        name="kinds_fv",
        entities=[shop],
        source=source("kinds", tombstones=False, table="kinds", created_timestamp_column=""),
        schema=[
            Field(name="small", dtype=Int64), Field(name="exact", dtype=Float64), Field(name="at", dtype=UnixTimestamp),
            Field(name="many", dtype=Array(Int64)), Field(name="id", dtype=String),
        ],
    )  # fmt: skip
    store = prices.store(OURS, [shop, kinds])
    names = ["small", "exact", "at", "many", "id"]
    for asked in ([Asked(A, day(1)), Asked(("z", "1"), day(1))], [Asked(("z", "1"), day(1))]):
        result = store.get_historical_features(frame(asked), [f"kinds_fv:{name}" for name in names]).to_arrow()
        types = [pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC"), pa.list_(pa.int64()), pa.string()]
        assert [result.schema.field(name).type for name in names] == types
    row = values(store, [Asked(A, day(1))], [f"kinds_fv:{name}" for name in names])[0]
    assert (row["exact"], row["at"], row["many"]) == (29.85, day(0), [1, 2])


def test_a_bigint_that_no_double_can_hold_keeps_its_last_digit_beside_nulls(
    prices: Prices, ours: FeatureStore, stock: FeatureStore
) -> None:
    prices.fill([Row(A, day(1), day(1), 2**53 + 1)])
    asked = frame([Asked(A, day(1)), Asked(("z", "z"), day(1))])
    found = [int(store.get_historical_features(asked, PRICE).to_df()["price"].max()) for store in (ours, stock)]
    assert found == [2**53 + 1, 2**53]


# The database is only read


@pytest.fixture
def reader(connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may read schema offline and nothing else, not even make temporary tables."""
    role = f"reader_{connection.info.dbname}"
    connection.execute(f"REVOKE ALL ON DATABASE {connection.info.dbname} FROM PUBLIC")
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'only reads'")
    connection.execute(f"GRANT CONNECT ON DATABASE {connection.info.dbname} TO {role}")
    monkeypatch.setenv("PGUSER", role)
    monkeypatch.setenv("PGPASSWORD", "only reads")
    yield role
    connection.execute(f"DROP OWNED BY {role}")
    connection.execute(f"DROP ROLE {role}")


def test_a_role_that_may_only_read_is_enough_and_nothing_is_left_behind(prices: Prices, reader: str) -> None:
    prices.connection.execute(f"GRANT USAGE ON SCHEMA offline TO {reader}")
    prices.connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA offline TO {reader}")
    store = prices.store(OURS, [shop, item, LIMITED, FOREVER])
    prices.fill([Row(A, day(1), day(1), 1)])
    for asked in ([Asked(A, day(1))], "SELECT 'a' AS shop, '1' AS item, '2024-01-02Z'::timestamptz AS event_timestamp"):
        assert column(values(store, asked, PRICE), "price") == [1]
    left = prices.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname IN ('offline', 'public')")
    assert left.fetchall() == [("prices",)]


def test_within_an_exported_snapshot_what_is_written_meanwhile_is_not_seen(prices: Prices, ours: FeatureStore) -> None:
    prices.fill([Row(A, day(1), day(1), 1)])
    with exported_snapshot(ours.config.offline_store):
        prices.connection.execute("INSERT INTO offline.prices VALUES ('a', '1', %s, %s, false, 2)", (day(2), day(2)))
        assert column(values(ours, [Asked(A, day(2))], PRICE), "price") == [1]
    assert column(values(ours, [Asked(A, day(2))], PRICE), "price") == [2]


# Materialization and ranges


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(KEYS, tombstones=True, max_lag=14), st.integers(0, 6), st.integers(0, 6))
def test_the_latest_row_of_a_window_is_the_one_of_the_greatest_times_that_was_not_withdrawn(
    prices: Prices, ours: FeatureStore, history: list[Row], one: int, other: int
) -> None:
    prices.fill(history)
    start, end = day(min(one, other)), day(max(one, other))
    job = PointInTimePostgreSQLOfflineStore.pull_latest_from_table_or_query(
        ours.config, source(), ["shop", "item"], ["price"], "as_of", "created_at", start, end
    )
    inside = [row for row in history if start <= row.as_of <= end]
    found = {(row["shop"], row["item"]): row["price"] for row in job.to_arrow().to_pylist()}
    keys = {row.key for row in inside if _stands(row, inside)}
    expected = {key: expected_price(inside, Asked(key, end), ttl=None, grace=timedelta(days=10_000)) for key in keys}
    assert found == expected


def test_all_rows_of_a_window_are_those_that_were_not_replaced_or_withdrawn(prices: Prices, ours: FeatureStore) -> None:
    prices.fill(
        [
            Row(A, day(1), day(1), 1),
            Row(A, day(1), day(2), 2),
            Row(A, day(2), day(2), 3),
            Row(A, day(2), day(3), None, tombstone=True),
        ]
    )
    naive = [instant.replace(tzinfo=None) for instant in (day(0), day(9))]
    job = PointInTimePostgreSQLOfflineStore.pull_all_from_table_or_query(
        ours.config, source(), ["shop", "item"], ["price"], "as_of", "created_at", *naive
    )
    assert column(job.to_arrow().to_pylist(), "price") == [2]


def test_a_range_without_entities_is_answered_as_by_stock_feast(
    prices: Prices, ours: FeatureStore, stock: FeatureStore
) -> None:
    prices.fill([Row(A, day(number), day(number), number) for number in range(5)])
    answers = [
        store.get_historical_features(None, PRICE, start_date=day(1), end_date=day(3)).to_arrow().to_pylist()
        for store in (ours, stock)
    ]
    assert answers[0] == answers[1]
    assert sorted(column(answers[0], "price")) == [1, 2, 3]


def test_libpqs_environment_says_where_the_store_is(prices: Prices, ours: FeatureStore) -> None:
    config = ours.config.offline_store
    assert isinstance(config, PointInTimePostgreSQLOfflineStoreConfig)
    assert config.database == prices.connection.info.dbname
    assert config.port == prices.connection.info.port
    assert config.grace == GRACE


def _stands(row: Row, history: list[Row]) -> bool:
    rivals = [other for other in history if (other.key, other.as_of) == (row.key, row.as_of)]
    return not max(rivals, key=lambda rival: rival.created_at).tombstone


def _canonical(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Rows whose order and time zone's label do not matter: stock Feast promises neither."""
    plain = [{name: _utc(value) for name, value in row.items()} for row in rows]
    return sorted((sorted(row.items()) for row in plain), key=repr)


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
