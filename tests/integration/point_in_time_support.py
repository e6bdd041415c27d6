"""Histories, what they mean told slowly and obviously, and the stores that have to agree."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Int64, String

OURS = "jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore"
DAY = timedelta(days=1)
GRACE = 7 * DAY
START = datetime(2024, 1, 1, tzinfo=UTC)
Key = tuple[str, str]


def day(number: float) -> datetime:
    """The instant `number` days after the start of all histories."""
    return START + number * DAY


@dataclass(frozen=True)
class Row:
    """A snapshot of the pair (shop, item)."""

    key: Key
    as_of: datetime
    created_at: datetime
    price: int | None
    tombstone: bool = False


@dataclass(frozen=True)
class Asked:
    """An entity row."""

    key: Key
    t: datetime


def expected_price(
    history: Iterable[Row], asked: Asked, *, ttl: timedelta | None, grace: timedelta = GRACE
) -> int | None:
    """What a row shows, by the design's words one after the other."""
    latest: dict[datetime, Row] = {}
    for row in history:
        known = row.created_at <= asked.t + grace
        if row.key == asked.key and known and row.as_of <= asked.t:
            rival = latest.get(row.as_of)
            if rival is None or rival.created_at < row.created_at:
                latest[row.as_of] = row
    standing = [row for row in latest.values() if not row.tombstone]
    if not standing:
        return None
    newest = max(standing, key=lambda row: row.as_of)
    return None if ttl is not None and newest.as_of < asked.t - ttl else newest.price


class Prices:
    """A table `prices` keyed by (shop, item), and Feast stores that read it."""

    def __init__(self, connection: psycopg.Connection, folder: Path) -> None:
        self.connection = connection
        self._folder = folder
        connection.execute("CREATE SCHEMA offline")
        connection.execute(
            """CREATE TABLE offline.prices (shop text, item text, as_of timestamptz, created_at timestamptz,
                                            tombstone boolean NOT NULL, price bigint)"""
        )

    def fill(self, history: Iterable[Row]) -> None:
        """Put exactly `history` into the table, in this physical order."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute("TRUNCATE offline.prices")
            with cursor.copy("COPY offline.prices FROM STDIN") as copy:
                for row in history:
                    copy.write_row((*row.key, row.as_of, row.created_at, row.tombstone, row.price))

    def store(self, offline_type: str, objects: Sequence[Any] = (), **offline: object) -> FeatureStore:
        """A store over this database with `objects` applied."""
        settings: dict[str, object] = {"type": offline_type, "db_schema": "offline", **offline}
        if offline_type == "postgres":
            settings |= {
                "host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "sslmode": os.environ["PGSSLMODE"],
                "database": os.environ["PGDATABASE"], "user": os.environ["PGUSER"],
                "password": os.environ["PGPASSWORD"],
            }  # fmt: skip
        registry = self._folder / f"registry-{offline_type.rpartition('.')[2]}.db"
        config = RepoConfig(project="prices", provider="local", registry=str(registry), offline_store=settings,
                            online_store=None, entity_key_serialization_version=3)  # fmt: skip
        store = FeatureStore(config=config)
        if objects:
            store.apply(list(objects))
        return store


shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.STRING)


def source(name: str = "prices", *, tombstones: bool = True, **arguments: Any) -> PostgreSQLSource:
    """The table `prices` as a source."""
    where = {"timestamp_field": "as_of", "created_timestamp_column": "created_at", "table": "prices"} | arguments
    return PostgreSQLSource(name=name, tags={"tombstone_column": "tombstone"} if tombstones else {}, **where)


def prices_view(
    name: str = "prices_fv", *, ttl: timedelta | None = None, source: PostgreSQLSource | None = None, **arguments: Any
) -> FeatureView:
    """A view of the prices; without a ttl no price is too old."""
    schema = [Field(name="shop", dtype=String), Field(name="item", dtype=String), Field(name="price", dtype=Int64)]
    return FeatureView(**{"name": name, "entities": [shop, item], "ttl": ttl, "schema": schema,
                          "source": source or _shared_source} | arguments)  # fmt: skip


_shared_source = source()


def frame(asked: Sequence[Asked]) -> pd.DataFrame:
    """An entity frame."""
    return pd.DataFrame(
        {
            "shop": pd.Series([one.key[0] for one in asked], dtype=object),
            "item": pd.Series([one.key[1] for one in asked], dtype=object),
            "event_timestamp": pd.Series([one.t for one in asked], dtype="datetime64[us, UTC]"),
        }
    )


def values(store: FeatureStore, asked: Any, features: Sequence[str], **arguments: Any) -> list[dict[str, Any]]:
    """The rows that a store gives, as plain Python values."""
    entity_df = frame(asked) if isinstance(asked, list) else asked
    rows: list[dict[str, Any]] = (
        store.get_historical_features(entity_df, list(features), **arguments).to_arrow().to_pylist()
    )
    return rows


def column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """One column of `values`."""
    return [row[name] for row in rows]
