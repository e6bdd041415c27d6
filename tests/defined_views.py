"""Feature views over tables of a test's own, known to the jobs as if `apply` had resolved them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from feast import FeatureStore, RepoConfig
from psycopg import sql
from pydantic import TypeAdapter

from jobs.definitions import Definitions, Feature, JoinKey, Service, ServiceFeature, SnapshotView
from tests.conftest import PROJECT


def view_over(
    table: str,
    keys: Mapping[str, str],
    features: Mapping[str, str],
    *,
    created_at: str | None = "created_at",
    tombstone: str | None = None,
    ttl: timedelta | None = None,
) -> SnapshotView:
    """A view named like its table in schema `offline`, with keys and features of these Feast types."""
    return SnapshotView(
        name=table,
        join_keys=tuple(JoinKey(name, name, kind) for name, kind in sorted(keys.items())),
        relation=f'offline."{table}"',
        source=table,
        as_of_column="as_of",
        created_at_column=created_at,
        tombstone_column=tombstone,
        ttl=ttl,
        features=tuple(Feature(name, name, kind, "", {}) for name, kind in features.items()),
        description="",
        owner="",
        tags={},
    )


def create(connection: psycopg.Connection, table: str, columns: Mapping[str, str]) -> None:
    """A table in schema `offline` with columns of these Postgres types, which replaces one of that name."""
    typed = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()]
    name = sql.Identifier("offline", table)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(typed)))


def insert(connection: psycopg.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """These rows; texts are given as Postgres reads them."""
    for row in rows:
        values = sql.SQL(", ").join(map(sql.Literal, row))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier("offline", table), values))


def feast_store(folder: Path, *objects: Any) -> FeatureStore:
    """Feast over our offline store in the database that libpq's variables name, with `objects` applied."""
    offline = {"type": "jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore", "db_schema": "offline"}
    config = RepoConfig(
        project="of_a_test", provider="local", registry=str(folder / "registry.db"), offline_store=offline,
        online_store=None, entity_key_serialization_version=3,
    )  # fmt: skip
    store = FeatureStore(config=config)
    store.apply(list(objects))
    return store


def define(connection: psycopg.Connection, *views: SnapshotView) -> None:
    """Let the jobs find these views, and a service of all of them, in the database of fixture `platform`."""
    features = tuple(
        ServiceFeature(f"{view.name}_{one.name}", f"{view.name}__{one.name}", view.name, one.name)
        for view in views
        for one in view.features
    )
    service = Service("all", features, "", "", {"default": "true"})
    definitions = Definitions(PROJECT, tuple(sorted(views, key=lambda view: view.name)), (), (service,), "all")
    text = TypeAdapter(Definitions).dump_json(definitions).decode()
    connection.execute("UPDATE ledger.definitions SET definitions = %s WHERE project = %s", (text, PROJECT))
