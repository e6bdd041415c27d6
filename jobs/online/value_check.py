"""Whether the values that a materialization would write fit their declared types, asked before anything is written.

`apply` accepts a column whose type holds more than the declared one (`jobs.column_types`), in the hope that its values
do not: each is looked at here. A fraction is rounded to the type's precision; a whole number must stay what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from jobs.column_types import Fit, PostgresType, fits
from jobs.current_row import conjunction, source_column
from jobs.definitions import SnapshotView
from jobs.errors import DataError
from jobs.online.current_rows import conditions_of, current_rows_query, window_of
from jobs.source_columns import source_columns

_WHOLE = {"INT32": 31, "INT64": 63}
# Significant bits and greatest finite value of IEEE 754's formats.
_FLOATING = {"FLOAT": (24, "3.4028234663852886e38"), "DOUBLE": (53, "1.7976931348623157e308")}
_INTEGERS = ("integer", "bigint")


@dataclass(frozen=True)
class _Checked:
    """A column whose values may misfit: what it is for, its declared type, its type in Postgres."""

    name: str
    place: int
    kind: str
    column: str
    type: PostgresType


def check_values(connection: psycopg.Connection, view: SnapshotView, as_of: datetime) -> None:
    """Raises DataError naming feature or join key, key and value, unless all that is current at `as_of` fits."""
    columns = source_columns(connection, view)
    keys = [
        _Checked(f"join key {key.name}", place, key.type, key.column, columns[key.column])
        for place, key in enumerate(view.join_keys)
    ]
    features = [
        _Checked(f"feature {view.name}:{one.name}", place, one.type, one.column, columns[one.column])
        for place, one in enumerate(view.features)
    ]
    for key in filter(_may_misfit, keys):
        _check_key(connection, view, as_of, key)
    _check_features(connection, view, as_of, [feature for feature in features if _may_misfit(feature)])


def _check_key(connection: psycopg.Connection, view: SnapshotView, as_of: datetime, key: _Checked) -> None:
    value = source_column(key.column)
    query = sql.SQL("SELECT {value}::text FROM {table} WHERE {conditions} LIMIT 1").format(
        value=value,
        table=view.snapshots.table,
        conditions=conjunction([*window_of(view, as_of), _misfits(value, key)]),
    )
    row = connection.execute(query).fetchone()
    if row is not None:
        raise DataError(
            f"{key.name} of feature view {view.name} is {row[0]}, which is no {key.kind}; nothing was changed. "
            "Correct the row, or declare a type that holds it"
        )


def _check_features(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime, features: Sequence[_Checked]
) -> None:
    if not features:
        return
    any_row = sql.SQL("SELECT FROM {table} WHERE {conditions} AND ({misfits}) LIMIT 1").format(
        table=view.snapshots.table,
        conditions=conjunction(conditions_of(view, as_of)),
        misfits=sql.SQL(" OR ").join(_misfits(source_column(one.column), one) for one in features),
    )
    if connection.execute(any_row).fetchone() is None:  # in one pass; which row is current takes a sort
        return
    for one in features:
        value = sql.Identifier(f"f{one.place}")
        query = sql.SQL("SELECT {value}::text, ROW({keys})::text FROM ({rows}) AS rows WHERE {misfit} LIMIT 1").format(
            value=value,
            keys=sql.SQL(", ").join(sql.Identifier(f"key_{place}") for place in range(len(view.join_keys))),
            rows=current_rows_query(view, as_of),
            misfit=_misfits(value, one),
        )
        row = connection.execute(query).fetchone()
        if row is not None:
            raise DataError(
                f"{one.name} of key {row[1]} is {row[0][:100]}, which is no {one.kind}; nothing was changed. "
                "Correct the row, or declare a type that holds it"
            )


def _may_misfit(one: _Checked) -> bool:
    is_list = one.kind.endswith("_LIST")
    return is_list or "UNIX_TIMESTAMP" in one.kind or fits(one.kind, one.type) is Fit.CHECKED


def _misfits(value: sql.Composable, one: _Checked) -> sql.Composed:
    """Whether a value is none of the declared type; not so for a NULL."""
    if not one.kind.endswith("_LIST"):
        return sql.SQL("({}) IS TRUE").format(_misfit(value, one.kind, one.type.name))
    element = _misfit(sql.SQL("element"), one.kind.removesuffix("_LIST"), one.type.element or "")
    nested = sql.SQL("(array_ndims({0}) > 1 OR EXISTS (SELECT FROM unnest({0}) AS element WHERE {1})) IS TRUE")
    return nested.format(value, element)


def _misfit(value: sql.Composable, kind: str, column: str) -> sql.Composable:
    if kind == "UNIX_TIMESTAMP":
        return sql.SQL("NOT isfinite({})").format(value)
    if kind in _WHOLE:
        least, greatest = -(2 ** _WHOLE[kind]), 2 ** _WHOLE[kind] - 1
        whole = sql.SQL("NOT ({0}::numeric = trunc({0}::numeric) AND {0}::numeric BETWEEN {1} AND {2})")
        return whole.format(value, sql.Literal(least), sql.Literal(greatest))
    if kind in _FLOATING and column in _INTEGERS:
        # Up to here the format holds every integer; of the greater ones that it holds too, Arrow takes none.
        bound = 2 ** _FLOATING[kind][0]
        return sql.SQL("{} NOT BETWEEN {} AND {}").format(value, sql.Literal(-bound), sql.Literal(bound))
    if kind in _FLOATING:
        beyond = sql.SQL("abs({0}::numeric) > {1}::numeric AND abs({0}::numeric) < 'Infinity'")
        return beyond.format(value, sql.Literal(_FLOATING[kind][1]))
    return sql.SQL("false")
