"""What `get_historical_features` returns: the joined rows whole, or part by part in bounded memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import PostgreSQLRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import ValidationReference

from jobs.feast_plugins.entity_rows import Entities
from jobs.feast_plugins.join import PointInTimeJoin
from jobs.feast_plugins.point_in_time import join_query
from jobs.feast_plugins.result_columns import promised_type, with_defaults
from jobs.feast_plugins.sessions import either_snapshot
from jobs.feast_plugins.view_sources import RequestedView

EXACT_IN_DOUBLE = 2**53
PART_ROWS = 1 << 16
"""About so many rows has a part."""


class PointInTimeRetrievalJob(PostgreSQLRetrievalJob):
    """A retrieval whose columns have the types of the definition."""

    def __init__(
        self,
        entities: Entities,
        views: Sequence[RequestedView],
        key_types: Mapping[str, pa.DataType],
        *,
        config: RepoConfig,
        full_feature_names: bool,
        on_demand_feature_views: list[OnDemandFeatureView],
        metadata: Callable[[], RetrievalMetadata],
    ) -> None:
        super().__init__(self._query, config, full_feature_names, on_demand_feature_views)
        self._entities, self._views, self._key_types = entities, views, key_types
        self._find_metadata = metadata
        self.defaulted_elements: Counter[str] = Counter()
        """By column how many NULLs in lists were replaced so far by what Feast writes online for them."""

    @property
    def metadata(self) -> RetrievalMetadata:
        """What was asked for; found out when it is asked for."""
        if self._metadata is None:
            self._metadata = self._find_metadata()
        return self._metadata

    def to_df(
        self, validation_reference: ValidationReference | None = None, timeout: int | None = None
    ) -> pd.DataFrame:
        """The result as pandas; BIGINTs beyond 2^53 beside NULLs come as nullable Int64, which no double could hold."""
        return _to_pandas(self.to_arrow(validation_reference=validation_reference, timeout=timeout))

    def parts(self, rows: int = PART_ROWS, timeout: int | None = None) -> Iterator[pa.Table]:
        """The rows of `to_arrow` by key and instant, as tables of about so many rows, no key in two of them.

        Text is ordered by its bytes. The memory it takes does not depend on how many rows there are.
        """
        with self._join(timeout) as join:
            for part in join.parts(rows):
                yield self._as_defined(_Part(self._with_defaults(part), self).to_arrow())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return _to_pandas(self._to_arrow_internal(timeout))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with self._join(timeout) as join:
            return self._with_defaults(join.whole())

    def _with_defaults(self, table: pa.Table) -> pa.Table:
        features = sum(len(view.columns) for view in self._views)
        for place in range(table.num_columns - features, table.num_columns):
            values, count = with_defaults(table[place])
            if count:
                self.defaulted_elements[table.field(place).name] += count
                table = table.set_column(place, table.field(place), values)
        return table

    def _as_defined(self, part: pa.Table) -> pa.Table:
        """With on-demand features of the types of their definition, which what a part happens to hold does not tell."""
        types = {
            f"{view.projection.name_to_use()}__{field.name}" if self.full_feature_names else field.name: field.dtype
            for view in self.on_demand_feature_views
            for field in view.features
        }
        fields = [
            field.with_type(promised_type(types[field.name])) if field.name in types else field for field in part.schema
        ]
        return part.cast(pa.schema(fields))

    @contextmanager
    def _join(self, timeout: int | None) -> Iterator[PointInTimeJoin]:
        with either_snapshot(self.config.offline_store, timeout) as (connection, snapshot):
            yield PointInTimeJoin(self._entities, self._views, self._key_types, connection, snapshot)

    @contextmanager
    def _query(self) -> Iterator[str]:
        yield join_query(self._entities.rows(self._key_types), [view.source for view in self._views])


class _Part(PostgreSQLRetrievalJob):
    """Joined rows, to which Feast adds the on-demand features."""

    def __init__(self, table: pa.Table, whole: PointInTimeRetrievalJob) -> None:
        super().__init__("", whole.config, whole.full_feature_names, whole.on_demand_feature_views)
        self._table, self._whole = table, whole

    @property
    def metadata(self) -> RetrievalMetadata:
        """That of the whole."""
        return self._whole.metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:  # noqa: ARG002
        return self._table


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    for name in table.column_names:
        column = table[name]
        if pa.types.is_int64(column.type) and column.null_count and _beyond_double(column):
            frame[name] = column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def _beyond_double(column: pa.ChunkedArray) -> bool:
    extremes = pc.min_max(column).as_py()
    return extremes["min"] is not None and (extremes["max"] > EXACT_IN_DOUBLE or extremes["min"] < -EXACT_IN_DOUBLE)
