"""An entity frame, as pandas or as SQL, made ready for the join."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import FeastEntityDFMissingColumnsError, InvalidEntityType
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.utils.postgres.postgres_config import PostgreSQLConfig
from psycopg import sql

from jobs.feast_plugins.point_in_time import EntityRows, entity_rows_of_arrays, entity_rows_of_query
from jobs.feast_plugins.retrieval import ResultColumn, arrow_type, offline_session

Bounds = tuple[datetime | None, datetime | None]


class EntityFrame:
    """A pandas frame: its keys and instants go to Postgres, its columns stay here and come back untouched."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.instant = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
        if not pd.api.types.is_datetime64_any_dtype(frame[self.instant]):
            frame = frame.assign(**{self.instant: pd.to_datetime(frame[self.instant], utc=True)})
        self.leading = _in_microseconds(pa.Table.from_pandas(frame, preserve_index=False))
        self.columns: tuple[ResultColumn, ...] = ()

    @property
    def names(self) -> list[str]:
        """The frame's columns."""
        return list(self.leading.column_names)

    def rows(self, key_types: Mapping[str, pa.DataType]) -> EntityRows:
        """What the join needs of the frame: the join keys, whose defined types these are, and the instants."""
        wanted = [name for name in key_types if name != self.instant] + [self.instant]
        return entity_rows_of_arrays(
            [(name, _pg_type(self._type(name, key_types)), self.leading[name].to_pylist()) for name in wanted],
            self.instant,
        )

    def bounds(self) -> Bounds:
        """The earliest and the latest instant; None for both of an empty frame."""
        extremes = pc.min_max(self.leading[self.instant]).as_py()
        return extremes["min"], extremes["max"]

    def _type(self, name: str, key_types: Mapping[str, pa.DataType]) -> pa.DataType:
        # A column of nothing but NULLs says nothing about its type, so the definition does.
        found = self.leading.schema.field(name).type
        return key_types[name] if pa.types.is_null(found) and name in key_types else found


class EntityQuery:
    """A SQL query, which becomes a part of the join's own statement."""

    leading: pa.Table | None = None

    def __init__(self, query: str, config: PostgreSQLConfig) -> None:
        self._query = query.strip().rstrip(";")
        self._config = config
        with offline_session(config) as connection:
            empty = sql.SQL("SELECT * FROM (\n{}\n) AS q LIMIT 0").format(sql.SQL(self._query))
            described = connection.execute(empty.as_string(None)).description or []
        self.columns = tuple(ResultColumn(column.name, arrow_type(column.type_code)) for column in described)
        self.instant = infer_event_timestamp_from_entity_df(
            {column.name: column.type.to_pandas_dtype() for column in self.columns}
        )

    @property
    def names(self) -> list[str]:
        """The query's columns."""
        return [column.name for column in self.columns]

    def rows(self, _key_types: Mapping[str, pa.DataType]) -> EntityRows:
        """The query itself; its columns have types of their own."""
        return entity_rows_of_query(self._query, self.instant, self.names)

    def bounds(self) -> Bounds:
        """The earliest and the latest instant; None for both when there is no row."""
        query = sql.SQL("SELECT min({t}), max({t}) FROM (\n{query}\n) AS q").format(
            t=sql.Identifier(self.instant), query=sql.SQL(self._query)
        )
        with offline_session(self._config) as connection:
            found = connection.execute(query.as_string(None)).fetchone()
        return found or (None, None)


def entity_rows(entity_df: object, config: PostgreSQLConfig) -> EntityFrame | EntityQuery:
    """Raises InvalidEntityType when it is neither a frame nor a query, and Feast's error when no instant is found."""
    if isinstance(entity_df, pd.DataFrame):
        return EntityFrame(entity_df)
    if isinstance(entity_df, str):
        return EntityQuery(entity_df, config)
    raise InvalidEntityType(type(entity_df))


def check_columns(entities: EntityFrame | EntityQuery, keys: set[str], features: list[str]) -> None:
    """Raises an error that names the join keys which are missing, or the features which the frame already has."""
    missing = keys - set(entities.names)
    if missing:
        raise FeastEntityDFMissingColumnsError(keys, missing)
    doubled = sorted(set(features) & set(entities.names))
    if doubled:
        raise ValueError(f"the entity frame has columns named like requested features: {', '.join(doubled)}")


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Postgres' resolution; finer parts of a nanosecond instant are cut off. Drops pandas' metadata."""
    fields = [
        field.with_type(pa.timestamp("us", tz=field.type.tz)) if pa.types.is_timestamp(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields), safe=False).replace_schema_metadata(None)


def _pg_type(arrow: pa.DataType) -> str:
    """The Postgres type of an entity column. Raises ValueError for one that no key can have."""
    if pa.types.is_integer(arrow):
        return "bigint"
    for is_kind, name in (
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_timestamp, "timestamptz"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_binary, "bytea"),
        (pa.types.is_decimal, "numeric"),
        (pa.types.is_date, "date"),
    ):
        if is_kind(arrow):
            return name
    raise ValueError(f"a join key cannot be of type {arrow}")
