"""The rows that a training set's rules and proof look at, by plain queries of their own, apart from the join's."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from psycopg import sql

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.current_row import SnapshotSource, TypedColumn, conjunction
from jobs.exports.contract import ColumnType
from jobs.instants import earlier
from jobs.key_order import Key, KeyOrderedRows, key_order
from jobs.training.rows import Labels
from jobs.training.views import TrainingView
from jobs.training.window import LabelledInstant

_PG_TYPES = {
    ColumnType.STRING: "text",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.DATE: "date",
}
# Lists and maps have no order or equality that Arrow and Postgres share; the view's other features tell enough.
_COMPARABLE = {
    "INT32": "integer",
    "INT64": "bigint",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "BOOL": "boolean",
    "STRING": "text",
    "BYTES": "bytea",
    "UNIX_TIMESTAMP": "timestamptz",
}


@dataclass(frozen=True)
class SourceTable:
    """What is read of a view or the labels: columns named like a set's, then `__at`, `__created_at`, `__tombstone`."""

    name: str
    relation: sql.Composable
    keys: tuple[str, ...]
    """The key's columns as the set names them, those of the labels' key that the table has, in its order."""
    columns: tuple[tuple[str, sql.Composable], ...]
    """Name and expression of each column: the keys, then the values."""
    at: sql.Composable
    created_at: sql.Composable
    """NULL for a table that does not tell since when a row is known."""
    tombstone: sql.Composable
    is_placed: sql.Composable
    """Whether a row has a key and its times."""
    textual: tuple[bool, ...]
    """Which of the keys are text."""

    @property
    def values(self) -> list[str]:
        """The values' names."""
        return [name for name, _ in self.columns[len(self.keys) :]]

    def query(self, conditions: Sequence[sql.Composable], *, ordered: bool) -> str:
        """The rows that meet the conditions, with a key; in the key's order, text by its bytes."""
        selected: list[sql.Composable] = [
            sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in self.columns
        ]
        keys = [value for _, value in self.columns[: len(self.keys)]]
        query = sql.SQL(
            "SELECT {selected}, {at} AS __at, {created_at} AS __created_at, {tombstone} AS __tombstone\n"
            "FROM {relation} AS s WHERE {conditions}"
        ).format(
            selected=sql.SQL(", ").join(selected or [sql.SQL("1")]),
            at=self.at,
            created_at=self.created_at,
            tombstone=self.tombstone,
            relation=self.relation,
            conditions=conjunction([*conditions, self.is_placed]),
        )
        if ordered and keys:
            query += sql.SQL(" ORDER BY {}").format(key_order(keys, self.textual))
        return query.as_string(None)

    def between(self, first: datetime | None, last: datetime) -> list[sql.Composable]:
        """The condition that a row describes an instant of these, ends included."""
        conditions: list[sql.Composable] = [sql.SQL("{} <= {}").format(self.at, sql.Literal(last))]
        if first is not None:
            conditions.append(sql.SQL("{} >= {}").format(self.at, sql.Literal(first)))
        return conditions

    def of_keys(self, keys: pa.Table) -> list[sql.Composable]:
        """The condition that a row has the first key's value from `keys`; none for a table without keys."""
        if not self.keys:
            return []
        values = keys[self.keys[0]].unique().to_pylist()
        return [sql.SQL("{} = ANY({})").format(self.columns[0][1], sql.Literal(values))]


def view_table(view: TrainingView, labels: Labels) -> SourceTable:
    """The rows of a view, with those features whose values can be compared, under their full names."""
    source = view.view
    columns = sorted(view.keys, key=lambda pair: labels.key.index(pair[0]))
    keys = tuple(name for name, _ in columns)
    values = [
        (view.column(feature.name), _cast(feature.column, _COMPARABLE[feature.type]))
        for feature in source.features
        if feature.type in _COMPARABLE
    ]
    return SourceTable(
        view.name,
        sql.SQL(source.relation),
        keys,
        (*((name, _cast(column, _key_type(labels, name))) for name, column in columns), *values),
        at=source.snapshots.as_of,
        created_at=source.snapshots.created_at or sql.SQL("NULL::timestamptz"),
        tombstone=source.snapshots.is_tombstone,
        is_placed=source.snapshots.is_placed,
        textual=_textual(labels, keys),
    )


def label_table(labels: Labels) -> SourceTable:
    """The rows of the labels."""
    rows = SnapshotSource(
        sql.Identifier(labels.contract.table).as_string(None),
        tuple(TypedColumn(name, "BYTES") for name in labels.key),
        (),
        labels.contract.instant,
        "created_at",
        "tombstone",
    )
    return SourceTable(
        labels.contract.table,
        sql.Identifier(labels.contract.table),
        labels.key,
        tuple((name, _cast(name, _key_type(labels, name))) for name in (*labels.key, labels.label)),
        at=rows.as_of,
        created_at=rows.created_at or sql.SQL("NULL::timestamptz"),
        tombstone=rows.is_tombstone,
        is_placed=rows.is_placed,
        textual=_textual(labels, labels.key),
    )


class SourceRows:
    """The rows of all tables in reach of a set's instants, taken in step by the labels' key."""

    def __init__(self, whole: dict[str, pa.Table], streams: dict[str, KeyOrderedRows]) -> None:
        self._whole, self.streams = whole, streams

    def until(self, last: Key | None) -> dict[str, pa.Table]:
        """By table: the rows up to this key that were not taken yet; of a table with fewer keys all rows, each time."""
        return {**self._whole, **{name: stream.until(last) for name, stream in self.streams.items()}}


@contextmanager
def read_sources(
    snapshot: ArrowSnapshot, tables: Sequence[SourceTable], queries: Sequence[str], key: tuple[str, ...]
) -> Iterator[SourceRows]:
    """`queries` are the tables'. Tables with the whole `key` stream; of others, which have fewer, all is held."""
    whole, streams = {}, {}
    with ExitStack() as reading:
        for table, query in zip(tables, queries, strict=True):
            if table.keys == key:
                batches = reading.enter_context(snapshot.stream(query))
                streams[table.name] = KeyOrderedRows(batches, range(len(key)))
            else:
                whole[table.name] = snapshot.table(query)
        yield SourceRows(whole, streams)


def in_reach(view: TrainingView, table: SourceTable, instants: Sequence[LabelledInstant]) -> str:
    """The query of what rows at these instants can show of the view, however late it became known."""
    first, last = instants[0].event_timestamp, instants[-1].event_timestamp
    oldest = None if view.view.ttl is None else earlier(first, view.view.ttl)
    return table.query(table.between(oldest, last), ordered=True)


def labels_in_reach(table: SourceTable, instants: Sequence[LabelledInstant]) -> str:
    """The query of the labels that lie in the window of any of these instants."""
    first, last = instants[0], instants[-1]
    window = table.between(earlier(first.target, first.tolerance), last.target + last.tolerance)
    return table.query(window, ordered=True)


def _key_type(labels: Labels, column: str) -> str:
    return _PG_TYPES[labels.contract.columns[column].type]


def _textual(labels: Labels, keys: Sequence[str]) -> tuple[bool, ...]:
    return tuple(labels.contract.columns[key].type is ColumnType.STRING for key in keys)


def _source(column: str) -> sql.Composed:
    return sql.SQL("s.{}").format(sql.Identifier(column))


def _cast(column: str, pg_type: str) -> sql.Composed:
    return sql.SQL("{}::{}").format(_source(column), sql.SQL(pg_type))
