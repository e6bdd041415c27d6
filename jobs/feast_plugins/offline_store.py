"""Feast's PostgreSQL offline store with a point-in-time join that is right in both times.

In `feature_store.yaml`:

    offline_store:
      type: jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore
      db_schema: offline
      grace_days: 7

Where Postgres is, libpq's environment says (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE, PGSSLMODE,
PGSSLROOTCERT). A source names the column that marks its tombstones by the tag `tombstone_column`.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import pyarrow as pa
from feast import FeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import (
    PostgreSQLOfflineStore,
    PostgreSQLOfflineStoreConfig,
)
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from pydantic import Field, StrictStr

from jobs.feast_plugins.entity_rows import Entities, EntityStream, check_columns, entity_rows
from jobs.feast_plugins.on_demand import for_many_rows
from jobs.feast_plugins.result_columns import promised_type
from jobs.feast_plugins.retrieval import PointInTimeRetrievalJob
from jobs.feast_plugins.standing_rows import standing_rows
from jobs.feast_plugins.view_sources import RequestedView, requested_views
from jobs.feast_sources import TOMBSTONE_TAG

TYPE: Final = "jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore"


def _environment(name: str, default: str = "") -> Any:
    # An empty value leaves the choice to libpq: its default host, its user, the password from PGPASSFILE.
    return Field(default_factory=lambda: os.environ.get(name, default))


class PointInTimePostgreSQLOfflineStoreConfig(PostgreSQLOfflineStoreConfig):
    """The settings of the offline store; all but `type` may be left out."""

    type: Literal["jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore"] = TYPE  # type: ignore[assignment]
    host: StrictStr = _environment("PGHOST")
    port: int = Field(default_factory=lambda: int(os.environ.get("PGPORT") or 5432))
    database: StrictStr = _environment("PGDATABASE")
    user: StrictStr = _environment("PGUSER")
    password: StrictStr = _environment("PGPASSWORD")
    sslmode: StrictStr | None = None
    grace_days: float = Field(default=7, ge=0)
    """A row counts for an event timestamp t when the platform knew it by t + this many days."""

    @property
    def grace(self) -> timedelta:
        """`grace_days` as a duration."""
        return timedelta(days=self.grace_days)


class PointInTimePostgreSQLOfflineStore(PostgreSQLOfflineStore):
    """Feast's store; where that one is right, the same results, and where it is not, the right ones."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | Path | str | EntityStream | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """One row per entity row, in their order. `filter_by_created_timestamp` stands for a grace of nothing.

        Entity rows are a pandas frame, an Arrow table, a Parquet file's Path, SQL or, for `parts`, an EntityStream.
        """
        if entity_df is None:
            return PostgreSQLOfflineStore.get_historical_features(
                config,
                feature_views,
                feature_refs,
                None,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
                **kwargs,
            )
        settings = config.offline_store
        assert isinstance(settings, PointInTimePostgreSQLOfflineStoreConfig)
        views = requested_views(
            feature_refs,
            feature_views,
            registry,
            project,
            full_feature_names=full_feature_names,
            grace=timedelta() if filter_by_created_timestamp else settings.grace,
        )
        entities = entity_rows(entity_df, settings)
        key_types = _key_types(views)
        features = [column for view in views for column in view.columns]
        check_columns(entities, set(key_types), [feature.name for feature in features])
        return PointInTimeRetrievalJob(
            entities,
            views,
            key_types,
            config=config,
            full_feature_names=full_feature_names,
            on_demand_feature_views=list(
                map(for_many_rows, OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry))
            ),
            metadata=lambda: _metadata(entities, feature_refs),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Per key the current row at the window's end, unless it is older than the window."""
        return PostgreSQLOfflineStore.pull_latest_from_table_or_query(
            config,
            _standing(config, data_source, join_key_columns, timestamp_field, created_timestamp_column),
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            _in_utc(start_date),
            _in_utc(end_date),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows in the window; of a source with tombstones only those that count today."""
        return PostgreSQLOfflineStore.pull_all_from_table_or_query(
            config,
            _standing(config, data_source, join_key_columns, timestamp_field, created_timestamp_column)
            if data_source.tags.get(TOMBSTONE_TAG)
            else data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date and _in_utc(start_date),
            end_date and _in_utc(end_date),
        )


def _key_types(views: list[RequestedView]) -> dict[str, Any]:
    """The Arrow types of the join keys by definition, under the entity frame's names."""
    return {
        key.entity_column: promised_type(column.dtype)
        for requested in views
        for key, column in zip(requested.source.keys, requested.view.entity_columns, strict=False)
    }


def _metadata(entities: Entities, feature_refs: list[str]) -> RetrievalMetadata:
    earliest, latest = entities.bounds()
    keys = [name for name in entities.names if name != entities.instant]
    return RetrievalMetadata(feature_refs, keys, min_event_timestamp=earliest, max_event_timestamp=latest)


def _standing(
    config: RepoConfig,
    source: DataSource,
    join_keys: list[str],
    timestamp_field: str,
    created_timestamp_column: str | None,
) -> DataSource:
    settings = config.offline_store
    assert isinstance(settings, PointInTimePostgreSQLOfflineStoreConfig)
    query = standing_rows(settings, source, join_keys, timestamp_field, created_timestamp_column)
    return PostgreSQLSource(name=source.name, query=query, timestamp_field=timestamp_field)


def _in_utc(instant: datetime) -> datetime:
    # Stock Feast would read a naive instant in the server's time zone.
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
