"""A view's rows in the offline store, as far as entity rows can show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.feast_plugins.as_of_join import History, Limits
from jobs.feast_plugins.point_in_time import tie_order
from jobs.feast_plugins.result_columns import FeatureColumn, described
from jobs.feast_plugins.view_sources import RequestedView
from jobs.instant_numbers import instant_numbers
from jobs.key_order import key_order
from jobs.row_numbers import Numbers, RowNumbers

TEXT = "text"
INTEGER = "integer"
# Types whose values are equal in Arrow just where they are in Postgres.
_KINDS = {25: TEXT, 1043: TEXT, 20: INTEGER, 21: INTEGER, 23: INTEGER}
ARROW_KEYS = {TEXT: pa.string(), INTEGER: pa.int64()}


def kind_of_key(oid: int) -> str | None:
    """TEXT or INTEGER for a Postgres type that can be compared here; None for one that only Postgres compares."""
    return _KINDS.get(oid)


@dataclass(frozen=True)
class Window:
    """Between which instants entity rows lie."""

    first: datetime
    last: datetime


class ViewRows:
    """How the rows of one view are asked for and found."""

    def __init__(self, connection: psycopg.Connection, requested: RequestedView) -> None:
        """Asks the database for the types of the view's columns."""
        self.view = requested.source
        self.keys = tuple(key.entity_column for key in self.view.keys)
        columns = [*(key.source_column for key in self.view.keys), *self.view.features]
        relation = sql.SQL("SELECT {} FROM {} AS s").format(
            sql.SQL(", ").join(map(_source, columns)) if columns else sql.SQL("1"), sql.SQL(self.view.relation)
        )
        oids = [oid for _, oid in described(connection, relation.as_string(None))]
        self.key_kinds = [kind_of_key(oid) for oid in oids[: len(self.keys)]]
        self.columns = [
            FeatureColumn(oid, result) for oid, result in zip(oids[len(self.keys) :], requested.columns, strict=False)
        ]

    def query(self, window: Window, order: Sequence[str] = ()) -> str:
        """The rows: keys, as_of, created_at, whether withdrawn, features; in the order of these entity columns."""
        query = self._select(sql.SQL(""), self._conditions(window))
        if order:
            places = [self.keys.index(name) for name in order]
            columns = [_source(self.view.keys[place].source_column) for place in places]
            textual = [self.key_kinds[place] == TEXT for place in places]
            query += sql.SQL(" ORDER BY {}").format(key_order(columns, textual))
        return query.as_string(None)

    def history(self, rows: pa.Table, numbers: RowNumbers) -> History:
        """`rows`, as `query` gives them, under the numbers of the entity rows' keys."""
        width = len(self.keys)
        created_at = instant_numbers(rows["created_at"]) if self.view.created_at else None
        withdrawn = rows["withdrawn"].to_numpy() if self.view.tombstone else None
        return History(
            numbers.find(rows.columns[:width], rows.num_rows), instant_numbers(rows["as_of"]), created_at, withdrawn
        )

    def without_ties(self, snapshot: ArrowSnapshot, window: Window, rows: pa.Table, tied: Numbers) -> pa.Table:
        """`rows`, with one row for each of the keys and times of `tied`: the one that the join in SQL would take.

        Their order is that of Postgres' collation, so Postgres says which one.
        """
        names = rows.column_names[: len(self.keys)]
        keys = rows.select(names).take(pa.array(tied)).group_by(names).aggregate([]) if names else rows.slice(0, 0)
        conditions = self._conditions(window)
        if names:
            conditions.append(_among(self.view.keys[0].source_column, keys.column(0).unique().to_pylist()))
        times = [*(_source(key.source_column) for key in self.view.keys), _source(self.view.as_of)]
        times += [_source(self.view.created_at)] if self.view.created_at else []
        distinct = sql.SQL("DISTINCT ON ({}) ").format(sql.SQL(", ").join(times))
        query = self._select(distinct, conditions) + sql.SQL(" ORDER BY {}").format(
            sql.SQL(", ").join([*times, *tie_order(self.view)])
        )
        chosen = snapshot.table(query.as_string(None)).cast(rows.schema)
        if not names:
            return chosen
        asked_again = pc.is_in(rows.column(0), value_set=keys.column(0).combine_chunks())
        return pa.concat_tables([rows.filter(pc.invert(asked_again)), chosen])

    def features(self, rows: pa.Table, numbers: Numbers) -> list[pa.ChunkedArray]:
        """The features of these rows, of the promised types; NULLs for NOT_FOUND. Raises ValueError naming a misfit."""
        taken = pa.array(numbers, mask=numbers < 0)
        shown = rows.select(rows.column_names[rows.num_columns - len(self.columns) :])
        return [column.array(values.take(taken)) for column, values in zip(self.columns, shown.columns, strict=True)]

    @property
    def limits(self) -> Limits:
        """The view's ttl and grace."""
        return Limits.of(self.view.ttl, self.view.grace)

    def _select(self, distinct: sql.Composable, conditions: Sequence[sql.Composable]) -> sql.Composed:
        view = self.view
        selected: list[sql.Composable] = [
            sql.SQL("{}{} AS {}").format(
                _source(key.source_column), sql.SQL("::bigint" if kind == INTEGER else ""), sql.Identifier(f"k{index}")
            )
            for index, (key, kind) in enumerate(zip(view.keys, self.key_kinds, strict=True))
        ]
        selected.append(sql.SQL("{}::timestamptz AS as_of").format(_source(view.as_of)))
        if view.created_at:
            selected.append(sql.SQL("{}::timestamptz AS created_at").format(_source(view.created_at)))
        if view.tombstone:
            selected.append(sql.SQL("COALESCE({}, false) AS withdrawn").format(_source(view.tombstone)))
        selected += [
            sql.SQL("{} AS {}").format(column.expression(_source(name)), sql.Identifier(f"f{index}"))
            for index, (name, column) in enumerate(zip(view.features, self.columns, strict=True))
        ]
        return sql.SQL("SELECT {distinct}{selected} FROM {relation} AS s WHERE {conditions}").format(
            distinct=distinct,
            selected=sql.SQL(", ").join(selected),
            relation=sql.SQL(view.relation),
            conditions=sql.SQL(" AND ").join(conditions),
        )

    def _conditions(self, window: Window) -> list[sql.Composable]:
        view = self.view
        conditions: list[sql.Composable] = [
            sql.SQL("{} IS NOT NULL").format(_source(key.source_column)) for key in view.keys
        ]
        conditions.append(sql.SQL("{} <= {}").format(_source(view.as_of), sql.Literal(window.last)))
        if view.ttl is not None:
            first = sql.SQL("{}::timestamptz - {}").format(sql.Literal(window.first), sql.Literal(view.ttl))
            conditions.append(sql.SQL("{} >= {}").format(_source(view.as_of), first))
        if view.created_at:
            last = sql.SQL("{}::timestamptz + {}").format(sql.Literal(window.last), sql.Literal(view.grace))
            conditions.append(sql.SQL("{} <= {}").format(_source(view.created_at), last))
        return conditions


def _source(column: str) -> sql.Composed:
    return sql.SQL("s.{}").format(sql.Identifier(column))


def _among(column: str, values: list[object]) -> sql.Composed:
    return sql.SQL("{} = ANY({})").format(_source(column), sql.Literal(values))
