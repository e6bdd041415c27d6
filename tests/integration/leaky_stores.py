"""Offline stores that are wrong on purpose, to show that a training set's proof finds them out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_store import RetrievalJob

from jobs.feast_plugins.entity_rows import EntityStream
from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStore, PointInTimePostgreSQLOfflineStoreConfig
from jobs.feast_plugins.retrieval import PointInTimeRetrievalJob

_honest = PointInTimePostgreSQLOfflineStore.get_historical_features
FEE = "subs_profile_fv__monthly_fee"


class ForgetfulOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class ForgetfulOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Forgets since when a row is known."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        job = _job(*arguments, **flags)
        job._views = [replace(view, source=replace(view.source, grace=timedelta(999))) for view in job._views]
        return job


class ClairvoyantOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class ClairvoyantOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Looks a month ahead."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        job, month = _job(*arguments, **flags), timedelta(31)
        entities = job._entities
        assert isinstance(entities, EntityStream)
        first, last = entities.between
        job._entities = replace(
            entities, between=(first + month, last + month), tables=map(_moved(month), entities.tables)
        )
        return _altered(job, _moved(-month))


class InventiveOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class InventiveOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Makes up a fee."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        return _altered(_job(*arguments, **flags), lambda part: _with(part, FEE, pc.add(part[FEE], 0.01)))


class MultiplyingOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class MultiplyingOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Gives each row twice."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        return _altered(_job(*arguments, **flags), lambda part: pa.concat_tables([part, part]))


def _job(*arguments: Any, **flags: Any) -> PointInTimeRetrievalJob:
    job = _honest(*arguments, **flags)
    assert isinstance(job, PointInTimeRetrievalJob)
    return job


def _altered(job: PointInTimeRetrievalJob, alter: Callable[[pa.Table], pa.Table]) -> PointInTimeRetrievalJob:
    honest = job.parts

    def parts() -> Iterator[pa.Table]:
        return map(alter, honest())

    job.parts = parts  # type: ignore[method-assign,assignment]
    return job


def _moved(by: timedelta) -> Callable[[pa.Table], pa.Table]:
    return lambda table: _with(table, "event_timestamp", pc.add(table["event_timestamp"], pa.scalar(by)))


def _with(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)
