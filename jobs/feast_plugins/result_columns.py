"""What is read from Postgres, and the Arrow types that were promised of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from feast.type_map import pg_type_code_to_arrow
from feast.types import Array, Bytes, FeastType, from_feast_to_pyarrow_type
from psycopg import sql
from psycopg.postgres import types

TIMESTAMPTZ_OID = 1184
# What the driver gives as Arrow values; all else is asked for as text.
_DRIVERS_OWN = ("bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name", "bytea",
                "date", "timestamp", "timestamptz")  # fmt: skip
_NATIVE = frozenset(oid for name in _DRIVERS_OWN for oid in (types[name].oid, types[name].array_oid))
_TEXTS = frozenset(types[name].oid for name in ("text", "varchar", "name"))
_TEXT_ARRAYS = frozenset(types[name].array_oid for name in ("text", "varchar", "name"))
_NUMERIC = types["numeric"]
_JSON = frozenset({types["json"].oid, types["jsonb"].oid})
# Enough digits for any BIGINT, and for fractions, which are refused.
_INTEGRAL = pa.decimal256(58, 38)


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result: its name and the Arrow type that the definition promises."""

    name: str
    type: pa.DataType


@dataclass(frozen=True)
class ReadColumn:
    """A column of Postgres' type `oid`, read for a result's column."""

    oid: int
    result: ResultColumn

    def expression(self, value: sql.Composable) -> sql.Composable:
        """What to ask the database for, of which `array` makes the promised type."""
        if self.oid in _NATIVE:
            return value
        nested = pa.types.is_list(self.result.type) and self.oid not in _JSON
        element = self.result.type.value_type if nested else self.result.type
        as_double = pa.types.is_floating(element) and self.oid in (_NUMERIC.oid, _NUMERIC.array_oid)
        return sql.SQL("{}::{}{}").format(
            value, sql.SQL("double precision" if as_double else "text"), sql.SQL("[]" if nested else "")
        )

    def array(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Raises ValueError naming the column when a value does not fit the type: nothing is rounded or cut."""
        target = self.result.type
        try:
            if self.oid in _JSON:
                values = _documents(values, target)
            elif self.oid == _NUMERIC.oid and pa.types.is_integer(target):
                values = values.cast(_INTEGRAL)
            elif self.oid == _NUMERIC.array_oid and pa.types.is_list(target) and pa.types.is_integer(target.value_type):
                values = values.cast(pa.list_(_INTEGRAL))
            return values.cast(target)
        except pa.ArrowException as error:
            raise ValueError(f"column {self.result.name} does not fit its defined type {target}: {error}") from error


@dataclass(frozen=True)
class FeatureColumn(ReadColumn):
    """A feature's column: as a text Postgres' own text of the value, which is what the online store has."""

    def expression(self, value: sql.Composable) -> sql.Composable:
        """What to ask the database for."""
        is_list = pa.types.is_list(self.result.type)
        if not self._is_text:
            return super().expression(value)
        if self.oid in (_TEXT_ARRAYS if is_list else _TEXTS):
            return value
        return sql.SQL("{}::text[]" if is_list else "{}::text").format(value)

    def array(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Raises ValueError naming the column when a value does not fit the type."""
        return values.cast(self.result.type) if self._is_text else super().array(values)

    @property
    def _is_text(self) -> bool:
        promised = self.result.type
        return bool(pa.types.is_string(promised.value_type if pa.types.is_list(promised) else promised))


def promised_type(defined: FeastType) -> pa.DataType:
    """The Arrow type of a Feast type; Feast 0.67 names none of its own for Bytes."""
    if defined == Bytes:
        return pa.binary()
    if isinstance(defined, Array) and defined.base_type == Bytes:
        return pa.list_(pa.binary())
    return from_feast_to_pyarrow_type(defined)


def described(connection: psycopg.Connection, query: str) -> list[tuple[str, int]]:
    """Name and type of each column of `query`."""
    empty = sql.SQL("SELECT * FROM (\n{}\n) AS q LIMIT 0").format(sql.SQL(query))
    return [(column.name, column.type_code) for column in connection.execute(empty.as_string(None)).description or []]


def read_query(query: str, columns: Sequence[ReadColumn]) -> sql.Composed:
    """The rows of `query` in its order, as columns c0, c1, ...: names of its own may be long, or double."""
    names = [sql.Identifier(f"c{index}") for index in range(len(columns))]
    return sql.SQL("SELECT {expressions} FROM (\n{query}\n) AS q({names})").format(
        expressions=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(column.expression(name), name)
            for column, name in zip(columns, names, strict=True)
        ),
        query=sql.SQL(query),
        names=sql.SQL(", ").join(names),
    )


def result_table(read: pa.Table, columns: Sequence[ReadColumn]) -> pa.Table:
    """What `read_query` gave as the promised columns. Raises ValueError naming a column that does not fit."""
    arrays = [column.array(values) for column, values in zip(columns, read.columns, strict=True)]
    return pa.table(arrays, schema=pa.schema([(column.result.name, column.result.type) for column in columns]))


def arrow_type(pg_type_oid: int) -> pa.DataType:
    """The Arrow type of a Postgres column as Feast reads it, except that an instant keeps saying that it is UTC."""
    if pg_type_oid == TIMESTAMPTZ_OID:
        return pa.timestamp("us", tz="UTC")
    try:
        return pg_type_code_to_arrow(pg_type_oid)
    except KeyError:
        return pa.string()


def _documents(texts: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """JSON by its values: lists and maps as such where they are promised, else as Python writes them."""
    values = [None if text is None else json.loads(text) for text in texts.to_pylist()]
    if pa.types.is_nested(target):
        return pa.chunked_array([pa.array(values, type=target)])
    write: Callable[[Any], Any] = json.dumps
    return pa.chunked_array([pa.array([write(value) if isinstance(value, dict | list) else value for value in values])])
