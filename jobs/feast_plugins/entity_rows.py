"""Entity rows as they are given, made ready for the join: a frame, a table, a Parquet file, SQL, a stream of tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.errors import FeastEntityDFMissingColumnsError, InvalidEntityType
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.utils.postgres.postgres_config import PostgreSQLConfig
from psycopg import sql

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.feast_plugins.point_in_time import EntityRows, entity_rows_of_arrays, entity_rows_of_query
from jobs.feast_plugins.result_columns import (
    ReadColumn,
    ResultColumn,
    arrow_type,
    described,
    read_query,
    result_table,
)
from jobs.feast_plugins.sessions import offline_session
from jobs.feast_plugins.view_rows import INTEGER, TEXT, kind_of_key
from jobs.key_order import KeyOrderedRows, key_order, parts

Bounds = tuple[datetime | None, datetime | None]


class Entities(Protocol):
    """Entity rows of whatever origin."""

    @property
    def order(self) -> tuple[str, ...]:
        """The keys in whose order they come; none where they can be put in any."""

    @property
    def instant(self) -> str:
        """The column of the instants."""

    @property
    def names(self) -> Sequence[str]:
        """All columns."""

    @property
    def columns(self) -> Sequence[ReadColumn]:
        """What a join over `rows` repeats in front of the features; nothing where the rows are here."""

    def kind_of(self, name: str) -> str | None:
        """TEXT or INTEGER; None for a column that only Postgres can compare with a key."""

    def bounds(self) -> Bounds:
        """The earliest and the latest instant; None for both when there is no row."""

    def rows(self, key_types: Mapping[str, pa.DataType]) -> EntityRows:
        """The rows in SQL, with the join keys of these defined types."""

    def table(self, snapshot: ArrowSnapshot) -> pa.Table:
        """All rows, in their order."""

    def parts(self, snapshot: ArrowSnapshot, order: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """The rows in the order of these columns and the instant, about so many at a time, no key in two tables."""


@dataclass(frozen=True)
class EntityStream:
    """Entity rows that come by and by, once: tables of this schema, ordered by the keys `order` and the instant.

    No key is in two tables, and each instant, in `event_timestamp`, lies within `between`.
    """

    schema: pa.Schema
    order: tuple[str, ...]
    between: tuple[datetime, datetime]
    tables: Iterator[pa.Table]
    instant: str = "event_timestamp"
    columns: Sequence[ReadColumn] = ()

    @property
    def names(self) -> Sequence[str]:
        """The schema's."""
        return list(self.schema.names)

    def kind_of(self, name: str) -> str | None:
        """Of the Arrow type."""
        return _kind(self.schema.field(name).type)

    def bounds(self) -> Bounds:
        """As promised."""
        return self.between

    def rows(self, key_types: Mapping[str, pa.DataType]) -> EntityRows:  # noqa: ARG002
        """Raises ValueError: no SQL holds what has not come yet."""
        raise ValueError("a stream of entity rows cannot be written as SQL")

    def table(self, snapshot: ArrowSnapshot) -> pa.Table:  # noqa: ARG002
        """What comes, to its end."""
        return pa.concat_tables([self.schema.empty_table(), *self.tables])

    def parts(self, snapshot: ArrowSnapshot, order: Sequence[str], rows: int) -> Iterator[pa.Table]:  # noqa: ARG002
        """As they come."""
        return self.tables


class EntityTable:
    """A table in memory, which comes back untouched."""

    columns: Sequence[ReadColumn] = ()
    order: tuple[str, ...] = ()

    def __init__(self, table: pa.Table) -> None:
        self._table = _in_microseconds(table)
        self.names: Sequence[str] = list(table.column_names)
        self.instant = infer_event_timestamp_from_entity_df(
            {field.name: field.type.to_pandas_dtype() for field in self._table.schema}
        )
        if not pa.types.is_timestamp(self._table.schema.field(self.instant).type):
            raise ValueError(f"entity column {self.instant} holds no instants but {self._table[self.instant].type}")

    def kind_of(self, name: str) -> str | None:
        """Of the Arrow type."""
        return _kind(self._table.schema.field(name).type)

    def bounds(self) -> Bounds:
        """The earliest and the latest instant, in UTC."""
        extremes = pc.min_max(self._table[self.instant].cast(pa.timestamp("us", "UTC"))).as_py()
        return extremes["min"], extremes["max"]

    def rows(self, key_types: Mapping[str, pa.DataType]) -> EntityRows:
        """What the join needs: the keys and the instants, as arrays."""
        wanted = [name for name in key_types if name != self.instant] + [self.instant]
        return entity_rows_of_arrays(
            [(name, _pg_type(self._type(name, key_types)), self._table[name].to_pylist()) for name in wanted],
            self.instant,
        )

    def table(self, snapshot: ArrowSnapshot) -> pa.Table:  # noqa: ARG002
        """The table."""
        return self._table

    def parts(self, snapshot: ArrowSnapshot, order: Sequence[str], rows: int) -> Iterator[pa.Table]:  # noqa: ARG002
        """Sorted here."""
        ordered = self._table.sort_by([(name, "ascending") for name in (*order, self.instant)])
        return _in_parts(ordered.to_batches() or [_no_rows(ordered.schema)], self._places(order), rows)

    def _places(self, names: Sequence[str]) -> list[int]:
        return [self._table.schema.get_field_index(name) for name in names]

    def _type(self, name: str, key_types: Mapping[str, pa.DataType]) -> pa.DataType:
        # A column of nothing but NULLs says nothing about its type, so the definition does.
        found = self._table.schema.field(name).type
        return key_types[name] if pa.types.is_null(found) and name in key_types else found


class EntityQuery:
    """A SQL query, asked once."""

    order: tuple[str, ...] = ()

    def __init__(self, query: str, config: PostgreSQLConfig) -> None:
        self._query = query.strip().rstrip(";")
        self._config = config
        with offline_session(config) as connection:
            self.columns: Sequence[ReadColumn] = [
                ReadColumn(oid, ResultColumn(name, arrow_type(oid))) for name, oid in described(connection, self._query)
            ]
        self.names: Sequence[str] = [column.result.name for column in self.columns]
        self.instant = infer_event_timestamp_from_entity_df(
            {column.result.name: column.result.type.to_pandas_dtype() for column in self.columns}
        )

    def kind_of(self, name: str) -> str | None:
        """Of the Postgres type."""
        return kind_of_key(self.columns[self.names.index(name)].oid)

    def bounds(self) -> Bounds:
        """Asked of the database."""
        with offline_session(self._config) as connection:
            query = sql.SQL("SELECT min({t}), max({t}) FROM (\n{query}\n) AS q").format(
                t=sql.Identifier(self.instant), query=sql.SQL(self._query)
            )
            return connection.execute(query.as_string(None)).fetchone() or (None, None)

    def rows(self, key_types: Mapping[str, pa.DataType]) -> EntityRows:  # noqa: ARG002
        """The query itself; its columns have types of their own."""
        return entity_rows_of_query(self._query, self.instant, self.names)

    def table(self, snapshot: ArrowSnapshot) -> pa.Table:
        """The answer."""
        return result_table(snapshot.table(read_query(self._query, self.columns).as_string(None)), self.columns)

    def parts(self, snapshot: ArrowSnapshot, order: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Sorted by Postgres, as they arrive."""
        places = [self.names.index(name) for name in order]
        names = [sql.Identifier(f"c{place}") for place in (*places, self.names.index(self.instant))]
        query = sql.SQL("SELECT * FROM (\n{}\n) AS r ORDER BY {}").format(
            read_query(self._query, self.columns),
            key_order(names, [*(self.kind_of(name) == TEXT for name in order), False]),
        )
        with snapshot.stream(query.as_string(None)) as batches:
            for part in _in_parts(batches, places, rows):
                yield result_table(part, self.columns)


def entity_rows(entity_df: object, config: PostgreSQLConfig) -> Entities:
    """Raises InvalidEntityType when it is none of these, and Feast's error when no instant is found.

    OSError for a file that is not there, ValueError for one that is not Parquet.
    """
    if isinstance(entity_df, pd.DataFrame):
        return EntityTable(_table_of(entity_df))
    if isinstance(entity_df, pa.Table):
        return EntityTable(entity_df)
    if isinstance(entity_df, Path):
        return EntityTable(_table_in(entity_df))
    if isinstance(entity_df, str):
        return EntityQuery(entity_df, config)
    if isinstance(entity_df, EntityStream):
        return entity_df
    raise InvalidEntityType(type(entity_df))


def check_columns(entities: Entities, keys: set[str], features: list[str]) -> None:
    """Raises an error that names the join keys which are missing, or the features which the frame already has."""
    missing = keys - set(entities.names)
    if missing:
        raise FeastEntityDFMissingColumnsError(keys, missing)
    doubled = sorted(set(features) & set(entities.names))
    if doubled:
        raise ValueError(f"the entity frame has columns named like requested features: {', '.join(doubled)}")


def _table_of(frame: pd.DataFrame) -> pa.Table:
    instant = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
    if not pd.api.types.is_datetime64_any_dtype(frame[instant]):
        frame = frame.assign(**{instant: pd.to_datetime(frame[instant], utc=True)})
    return pa.Table.from_pandas(frame, preserve_index=False)


def _table_in(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"entity rows in {file} cannot be read as Parquet: {error}") from error


def _in_parts(batches: Iterable[pa.RecordBatch], key: Sequence[int], rows: int) -> Iterator[pa.Table]:
    stream = KeyOrderedRows(batches, key)
    return (stream.until(last) for last in parts([stream], rows))


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _kind(arrow: pa.DataType) -> str | None:
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return TEXT
    return INTEGER if pa.types.is_integer(arrow) else None


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
