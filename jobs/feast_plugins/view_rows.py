"""A view's rows in the offline store, as far as entity rows can show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.current_row import comma, conjunction, key_is, key_operand, key_type, source_column
from jobs.feast_plugins.as_of_join import History, Limits
from jobs.feast_plugins.result_columns import FeatureColumn, described
from jobs.feast_plugins.view_sources import RequestedView
from jobs.instant_numbers import instant_numbers
from jobs.instants import earlier
from jobs.key_order import key_order
from jobs.row_numbers import Numbers, RowNumbers

TEXT = "text"
INTEGER = "integer"
# Types whose values are equal in Arrow just where the bytes of a key are.
_KINDS = {25: TEXT, 1043: TEXT, 20: INTEGER, 21: INTEGER, 23: INTEGER}
ARROW_KEYS = {TEXT: pa.string(), INTEGER: pa.int64()}


def kind_of_key(oid: int) -> str | None:
    """TEXT or INTEGER for a Postgres type that can be compared here; None for one that only Postgres compares."""
    return _KINDS.get(oid)


def _kind_of(kind: str, oid: int) -> str | None:
    """The same for a source's key of Feast's type `kind`, which a text is whatever the column's type."""
    return TEXT if kind == "STRING" else _KINDS.get(oid)


@dataclass(frozen=True)
class Window:
    """Between which instants entity rows lie."""

    first: datetime
    last: datetime


class ViewRows:
    """How the rows of one view are asked for and found."""

    def __init__(self, connection: psycopg.Connection, requested: RequestedView) -> None:
        """Asks the database for the types of the view's columns."""
        self.view, self._source = requested.source, requested.source.snapshots
        self.keys = tuple(key.entity_column for key in self.view.keys)
        columns = [*(key.source_column.name for key in self.view.keys), *self.view.features]
        relation = sql.SQL("SELECT {} FROM {}").format(
            comma(map(source_column, columns)) if columns else sql.SQL("1"), self._source.table
        )
        oids = [oid for _, oid in described(connection, relation.as_string(None))]
        self.key_kinds = [
            _kind_of(key.source_column.type, oid)
            for key, oid in zip(self.view.keys, oids[: len(self.keys)], strict=True)
        ]
        self.columns = [
            FeatureColumn(oid, result) for oid, result in zip(oids[len(self.keys) :], requested.columns, strict=False)
        ]

    def query(self, window: Window, order: Sequence[str] = ()) -> str:
        """The rows: keys, as_of, created_at, whether withdrawn, features; in the order of these entity columns."""
        query = self._select(sql.SQL(""), self._conditions(window))
        if order:
            places = [self.keys.index(name) for name in order]
            columns = [self._operands[place] for place in places]
            textual = [self.key_kinds[place] == TEXT for place in places]
            query += sql.SQL(" ORDER BY {}").format(key_order(columns, textual))
        return query.as_string(None)

    def history(self, rows: pa.Table, numbers: RowNumbers) -> History:
        """`rows`, as `query` gives them, under the numbers of the entity rows' keys."""
        width = len(self.keys)
        created_at = instant_numbers(rows["created_at"]) if self._source.created_at_column else None
        withdrawn = rows["withdrawn"].to_numpy() if self._source.tombstone_column else None
        return History(
            numbers.find(rows.columns[:width], rows.num_rows), instant_numbers(rows["as_of"]), created_at, withdrawn
        )

    def without_ties(self, snapshot: ArrowSnapshot, window: Window, rows: pa.Table, tied: Numbers) -> pa.Table:
        """`rows`, with one row for each of the keys and times of `tied`: the one that the join in SQL would take."""
        names = rows.column_names[: len(self.keys)]
        keys = rows.select(names).take(pa.array(tied)).group_by(names).aggregate([]) if names else rows.slice(0, 0)
        conditions = self._conditions(window)
        if names:
            conditions.append(self._among(keys.column(0).unique().to_pylist()))
        source = self._source
        times = [*source.key, source.as_of, *filter(None, [source.created_at])]
        query = self._select(sql.SQL("DISTINCT ON ({}) ").format(comma(times)), conditions)
        query += sql.SQL(" ORDER BY {}").format(comma([*source.key, *source.latest_first]))
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

    @property
    def _operands(self) -> list[sql.Composed]:
        """The join keys' values."""
        columns = [key.source_column for key in self.view.keys]
        return [key_operand(source_column(column.name), column.type) for column in columns]

    def _select(self, distinct: sql.Composable, conditions: Sequence[sql.Composable]) -> sql.Composed:
        source = self._source
        selected: list[sql.Composable] = [
            sql.SQL("{} AS {}").format(operand, sql.Identifier(f"k{index}"))
            for index, operand in enumerate(self._operands)
        ]
        selected.append(sql.SQL("{} AS as_of").format(source.as_of))
        if source.created_at is not None:
            selected.append(sql.SQL("{} AS created_at").format(source.created_at))
        if source.tombstone_column:
            selected.append(sql.SQL("{} AS withdrawn").format(source.is_tombstone))
        selected += [
            sql.SQL("{} AS {}").format(column.expression(source_column(name)), sql.Identifier(f"f{index}"))
            for index, (name, column) in enumerate(zip(self.view.features, self.columns, strict=True))
        ]
        return sql.SQL("SELECT {distinct}{selected} FROM {table} WHERE {conditions}").format(
            distinct=distinct,
            selected=comma(selected),
            table=source.table,
            conditions=conjunction(conditions),
        )

    def _conditions(self, window: Window) -> list[sql.Composable]:
        source, view = self._source, self.view
        oldest = None if view.ttl is None else earlier(window.first, view.ttl)
        reach = source.window(sql.Literal(window.last), None if oldest is None else sql.Literal(oldest))
        conditions = [*reach, *source.is_complete]
        if source.created_at is not None:
            last = sql.SQL("{}::timestamptz + {}").format(sql.Literal(window.last), sql.Literal(view.grace))
            conditions.append(sql.SQL("{} <= {}").format(source.created_at, last))
        return conditions

    def _among(self, values: list[object]) -> sql.Composed:
        """Whether a row's first key is one of these values."""
        column = self.view.keys[0].source_column
        array = sql.SQL("ANY ({}::{}[])").format(sql.Literal(values), sql.SQL(key_type(column.type)))
        return key_is(source_column(column.name), column.type, array)
