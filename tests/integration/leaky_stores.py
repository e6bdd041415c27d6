"""Offline stores that are wrong on purpose, to show that a training set's proof finds them out."""

from typing import Any

from feast.infra.offline_stores.offline_store import RetrievalJob

from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStore, PointInTimePostgreSQLOfflineStoreConfig
from jobs.feast_plugins.retrieval import PointInTimeRetrievalJob

_honest = PointInTimePostgreSQLOfflineStore.get_historical_features


class ForgetfulOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class ForgetfulOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Forgets since when a row is known."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        return _altered_query(_honest(*arguments, **flags), "'7 days 0:00:00'", "'999 days'")


class ClairvoyantOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class ClairvoyantOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Looks a month ahead."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        later = "(e.\"event_timestamp\" + interval '31 days')"
        return _altered_query(_honest(*arguments, **flags), 'e."event_timestamp"', later, keep_first=True)


class InventiveOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class InventiveOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Makes up a fee."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        return _altered_query(_honest(*arguments, **flags), 's."monthly_fee" AS', 's."monthly_fee" + 0.01 AS')


class MultiplyingOfflineStoreConfig(PointInTimePostgreSQLOfflineStoreConfig):
    type: Any = None


class MultiplyingOfflineStore(PointInTimePostgreSQLOfflineStore):
    """Gives each row twice."""

    @staticmethod
    def get_historical_features(*arguments: Any, **flags: Any) -> RetrievalJob:
        return _altered_query(_honest(*arguments, **flags), "FROM entity_rows AS e\nLEFT",
                              "FROM (VALUES (1), (2)) AS twice CROSS JOIN entity_rows AS e\nLEFT")  # fmt: skip


def _altered_query(job: RetrievalJob, old: str, new: str, *, keep_first: bool = False) -> RetrievalJob:
    assert isinstance(job, PointInTimeRetrievalJob)
    query = job.to_sql()
    head, rest = query.split(old, 1) if keep_first else ("", query)
    altered = head + (old if keep_first else "") + rest.replace(old, new)
    assert altered != query
    return PointInTimeRetrievalJob(
        altered,
        job._columns,
        config=job.config,
        full_feature_names=job.full_feature_names,
        on_demand_feature_views=job.on_demand_feature_views,
        metadata=job._find_metadata,
    )
