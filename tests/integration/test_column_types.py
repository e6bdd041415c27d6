"""What `apply` accepts of a column's type is materialized, and is the same for training. Real Postgres, every type."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from jobs import apply, materialize, postgres, source_columns
from jobs.column_types import Fit, fits
from jobs.definitions import Feature, JoinKey, SnapshotView
from jobs.errors import EXIT_BAD_DATA, EXIT_DONE
from jobs.feast_store import open_store
from jobs.findings import Findings
from jobs.local.servers import PostgresServer
from jobs.migrations import migrate_ledger, migrate_repository
from jobs.online.encoding import VALUE_TYPES
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.databases import clone
from tests.integration import typed_repository as typed

AT = datetime(2024, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of every type."""
    folder = tmp_path_factory.mktemp("typed") / "repository"
    typed.write(folder, (REPOSITORY / "feature_repo" / "feature_store.yaml").read_text())
    return folder


@pytest.fixture
def connection(
    postgres_server: PostgresServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """A database with that repository's table."""
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(folder))
    with clone(postgres_server, "template1", monkeypatch), postgres.connect("test", autocommit=True) as opened:
        migrate_ledger(opened)
        migrate_repository(opened, folder)
        yield opened


def over(column: str, value_type: str, **more: Any) -> SnapshotView:
    """A view of one feature."""
    given: dict[str, Any] = {
        "name": "v", "join_keys": (JoinKey("user_id", "user_id", "STRING"),), "relation": "typed", "source": "rows",
        "as_of_column": "as_of", "created_at_column": "created_at", "tombstone_column": None, "ttl": timedelta(45),
        "features": (Feature("f", column, value_type, "", {}),), "description": "", "owner": "", "tags": {}, **more,
    }  # fmt: skip
    return SnapshotView(**given)


def sentences(connection: psycopg.Connection, view: SnapshotView) -> list[str]:
    findings = Findings()
    source_columns.check(connection, view, findings)
    return [finding.sentence for finding in findings]


def test_each_pair_of_types_is_accepted_or_refused_as_the_table_says_naming_both(
    connection: psycopg.Connection,
) -> None:
    for column, value_type in itertools.product(typed.columns(), sorted(VALUE_TYPES)):
        found = sentences(connection, over(column.name, value_type))
        if fits(value_type, column.described) is not Fit.REFUSED:
            assert found == [], (column, value_type)
        else:
            (sentence,) = found
            what = f"feature v:f has type {value_type}, but column {column.name} is {column.described.name}; "
            assert sentence.startswith(f"feature view v does not fit its source rows: {what}"), (column, value_type)


def test_a_missing_column_is_named_with_those_of_nearly_its_name(connection: psycopg.Connection) -> None:
    query = "(SELECT user_id, as_of, created_at, 1 AS months_active FROM typed)"
    assert sentences(connection, over("month_active", "INT64", relation=query)) == [
        'feature view v does not fit its source rows: column "month_active" does not exist; '
        "columns of nearly that name are months_active"
    ]


def test_every_column_that_is_wrong_is_named(connection: psycopg.Connection) -> None:
    wrong = over("c0", "INT64", as_of_column="c7", created_at_column="nowhere", tombstone_column="c2")
    assert [sentence.partition(": ")[2] for sentence in sentences(connection, wrong)] == [
        "feature v:f has type INT64, but column c0 is boolean; give it another type, or a query as source that makes "
        "smallint or integer or bigint or numeric or real or double precision of the column",
        "its timestamp_field c7 is text; it must be date or timestamp without time zone or timestamp with time zone",
        'column "nowhere" does not exist',
        "its tombstone_column c2 is integer; it must be boolean",
    ]


@pytest.mark.parametrize("column", ["date", "timestamp without time zone", "timestamp with time zone"])
def test_time_columns_may_be_dates_and_instants(connection: psycopg.Connection, column: str) -> None:
    (name,) = [one.name for one in typed.columns() if one.declared == column]
    assert sentences(connection, over("c3", "INT64", as_of_column=name, created_at_column=name)) == []


def test_a_query_with_two_columns_of_one_name_is_refused(connection: psycopg.Connection) -> None:
    query = "(SELECT one.*, two.user_id FROM typed AS one JOIN typed AS two USING (as_of))"
    assert sentences(connection, over("c3", "INT64", relation=query)) == [
        "feature view v does not fit its source rows: it has two columns named user_id; name each one apart"
    ]


def test_a_join_key_is_checked_as_a_feature_is(connection: psycopg.Connection) -> None:
    keys = (JoinKey("user_id", "c7", "INT64"),)
    (sentence,) = sentences(connection, over("c3", "INT64", join_keys=keys))
    assert "join key user_id has type INT64, but column c7 is text" in sentence


def test_every_type_that_is_accepted_is_materialized_and_training_has_the_same_values(
    connection: psycopg.Connection, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply.main([]) == 0, capsys.readouterr().out
    assert materialize.main([]) == 0, capsys.readouterr().out
    store = open_store(load_settings())
    features = {kind.lower(): [column.name for column in typed.fitting(kind)] for kind in sorted(VALUE_TYPES)}
    for view, names in {**features, "texts": list(typed.TEXTS)}.items():
        entities = pd.DataFrame({"user_id": ["full", "empty"], "event_timestamp": [AT, AT]})
        trained = store.get_historical_features(entities, [f"{view}:{name}" for name in names]).to_arrow().to_pylist()
        for number, user in enumerate(("full", "empty")):
            online = {name: stored(redis_client, user, f"{view}:{name}") for name in names}
            assert {name: plain(trained[number][name]) for name in names} == online, (view, user)
            assert (set(online.values()) == {None}) is (user == "empty" and view != "texts")


@pytest.mark.usefixtures("database", "redis_client")
def test_a_value_that_does_not_fit_an_accepted_type_ends_as_bad_data_naming_the_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "repository"
    names = typed.write_hard(folder, (REPOSITORY / "feature_repo" / "feature_store.yaml").read_text())
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(folder))
    assert apply.main([]) == 0, capsys.readouterr().out
    for name, case in zip(names, typed.HARD, strict=True):
        capsys.readouterr()
        code, said = materialize.main(["--feature-view", name]), capsys.readouterr().out
        assert code in (EXIT_DONE, EXIT_BAD_DATA), (case, said)
        assert code == EXIT_DONE or f"{name}:x" in said, (case, said)


def stored(client: BytesRedis, user: str, feature: str) -> Any:
    """A feature's value in Redis; None for NULL."""
    key = _redis_key(PROJECT, EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]))
    held = client.hget(key, _mmh3(feature))
    assert held is not None, feature
    value = Value.FromString(held)
    kind = value.WhichOneof("val")
    if kind is None:
        return None
    found = getattr(value, kind)
    return tuple(found.val) if hasattr(found, "val") else found


def plain(value: Any) -> Any:
    """A training value as the online store has it: instants in whole seconds."""
    if isinstance(value, datetime):
        return int(value.replace(tzinfo=UTC).timestamp())
    return tuple(map(plain, value)) if isinstance(value, list) else value
