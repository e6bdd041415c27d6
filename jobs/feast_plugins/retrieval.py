"""Running an offline query and giving its result as Arrow, each column of the type that was promised."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import PostgreSQLRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.utils.postgres.connection_utils import _get_conn
from feast.infra.utils.postgres.postgres_config import PostgreSQLConfig
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import ValidationReference
from feast.type_map import pg_type_code_to_arrow
from psycopg import sql

EXACT_IN_DOUBLE = 2**53
TIMESTAMPTZ_OID = 1184

_snapshot: ContextVar[str | None] = ContextVar("offline_snapshot", default=None)


@contextmanager
def exported_snapshot(config: PostgreSQLConfig) -> Iterator[psycopg.Connection]:
    """A session that reads one snapshot of the offline store; every offline query within the block reads the same."""
    with offline_session(config) as connection:
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        # It waits, in its transaction, for as long as the other sessions need.
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        (snapshot_id,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or (None,)
        token = _snapshot.set(snapshot_id)
        try:
            yield connection
        finally:
            _snapshot.reset(token)


@contextmanager
def offline_session(config: PostgreSQLConfig) -> Iterator[psycopg.Connection]:
    """A connection in UTC that cannot write."""
    with _get_conn(config) as connection:
        connection.read_only = True
        snapshot_id = _snapshot.get()
        if snapshot_id is not None:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id)))
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        yield connection


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result: its name and the Arrow type that the definition promises."""

    name: str
    type: pa.DataType


class PointInTimeRetrievalJob(PostgreSQLRetrievalJob):
    """A retrieval whose columns have the types of the definition; `leading` columns are not asked of the database."""

    def __init__(
        self,
        query: str,
        columns: Sequence[ResultColumn],
        *,
        config: RepoConfig,
        full_feature_names: bool,
        on_demand_feature_views: list[OnDemandFeatureView],
        metadata: Callable[[], RetrievalMetadata],
        leading: pa.Table | None = None,
    ) -> None:
        super().__init__(query, config, full_feature_names, on_demand_feature_views)
        self._columns = columns
        self._leading = leading
        self._find_metadata = metadata

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

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return _to_pandas(self._to_arrow_internal(timeout))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with offline_session(self.config.offline_store) as connection, connection.cursor() as cursor:
            if timeout is not None:
                cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(timeout * 1000)))
            cursor.execute(self.to_sql())
            fetched = _arrow_table(cursor.fetchall(), self._columns)
        if self._leading is None:
            return fetched
        return pa.table(
            [*self._leading.columns, *fetched.columns], schema=_joined(self._leading.schema, fetched.schema)
        )


def arrow_type(pg_type_oid: int) -> pa.DataType:
    """The Arrow type of a Postgres column as Feast reads it, except that an instant keeps saying that it is UTC."""
    if pg_type_oid == TIMESTAMPTZ_OID:
        return pa.timestamp("us", tz="UTC")
    try:
        return pg_type_code_to_arrow(pg_type_oid)
    except KeyError:
        return pa.string()


def _joined(left: pa.Schema, right: pa.Schema) -> pa.Schema:
    return pa.schema([*left, *right])


def _arrow_table(rows: list[tuple[object, ...]], columns: Sequence[ResultColumn]) -> pa.Table:
    values: Sequence[Sequence[object]] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [_arrow_array(column_values, column) for column_values, column in zip(values, columns, strict=True)]
    return pa.table(arrays, schema=pa.schema([(column.name, column.type) for column in columns]))


def _arrow_array(values: Sequence[object], column: ResultColumn) -> pa.Array:
    """Raises ValueError naming the column when a value does not fit the type: nothing is rounded or cut silently."""
    try:
        if pa.types.is_nested(column.type):
            return pa.array(values, type=column.type)
        return pa.array(_plain(values, column.type)).cast(column.type)
    except pa.ArrowException as error:
        raise ValueError(f"column {column.name} does not fit its defined type {column.type}: {error}") from error


def _plain(values: Sequence[object], target: pa.DataType) -> Sequence[object]:
    """Values of the kinds that Arrow does not convert by itself, converted."""
    first = next((value for value in values if value is not None), None)
    convert: Callable[[object], object] | None = None
    if isinstance(first, Decimal) and pa.types.is_floating(target):
        convert = float  # type: ignore[assignment]
    elif isinstance(first, dict | list):
        convert = json.dumps
    elif isinstance(first, UUID) or (isinstance(first, Decimal) and pa.types.is_string(target)):
        convert = str
    return values if convert is None else [None if value is None else convert(value) for value in values]


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
