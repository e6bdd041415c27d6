"""Which row of a snapshot table is current at T: the greatest (as_of, created_at) with as_of <= T, within ttl."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from jobs.definitions import SnapshotView
from jobs.errors import UsageError

KEY = "key_{}"
AS_OF = sql.Identifier("as_of")
_WITHDRAWN = sql.Identifier("withdrawn")
# What Postgres says of a table or column that is not there, or not of a type that the query can use.
_MISFITS = (
    psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction,
    psycopg.errors.DatatypeMismatch, psycopg.errors.SyntaxError,
)  # fmt: skip


@dataclass(frozen=True)
class Partition:
    """The entities whose key's hash, modulo `count`, is `number`; one of one is all."""

    number: int = 0
    count: int = 1

    def split(self, parts: int) -> "list[Partition]":
        """The same entities in so many partitions."""
        return [Partition(self.number + part * self.count, parts * self.count) for part in range(parts)]


ALL = Partition()


def check_source(connection: psycopg.Connection, view: SnapshotView) -> None:
    """Return when the current rows of `view` can be read. Raises UsageError when its table is not as defined."""
    _execute(connection, view, sql.SQL("EXPLAIN ") + current_rows_query(view, datetime.now(UTC)))


def newest_as_of(connection: psycopg.Connection, views: Sequence[SnapshotView], until: datetime) -> datetime | None:
    """The newest as_of not after `until` in the tables of `views`; None when there is none."""
    newest: datetime | None = None
    for view in views:
        query = sql.SQL("SELECT max({as_of}) FROM {relation} AS snapshots WHERE {as_of} <= {until}").format(
            as_of=sql.Identifier(view.as_of_column), relation=sql.SQL(view.relation), until=sql.Literal(until)
        )
        row = _execute(connection, view, query).fetchone()
        if row is not None and row[0] is not None and (newest is None or row[0] > newest):
            newest = row[0]
    return newest


def has_current_row(connection: psycopg.Connection, view: SnapshotView, as_of: datetime) -> bool:
    """Whether `view` has a current row at `as_of`. Raises UsageError when its table is not as defined."""
    # One of the first that come is current, unless much was withdrawn; to ask it of all costs a pass over the table.
    return _has_current_row(connection, view, as_of, limit=100) or _has_current_row(connection, view, as_of)


def _has_current_row(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime, limit: int | None = None
) -> bool:
    conditions = window_conditions(view, as_of)
    if view.tombstone_column:
        conditions.append(sql.SQL("{} IS NOT TRUE").format(sql.Identifier(view.tombstone_column)))
    rows = sql.SQL("SELECT * FROM {relation} AS candidates WHERE {conditions} LIMIT {limit}").format(
        relation=sql.SQL(view.relation), conditions=sql.SQL(" AND ").join(conditions), limit=sql.Literal(limit)
    )
    query = sql.SQL("SELECT FROM ({}) AS snapshots").format(rows)
    if view.tombstone_column and view.created_at_column:
        same = [sql.Identifier(column) for column in (*(key.column for key in view.join_keys), view.as_of_column)]
        pairs = [sql.SQL("later.{0} = snapshots.{0}").format(column) for column in same]
        withdrawn = sql.SQL("later.{0} > snapshots.{0} AND later.{1}").format(
            sql.Identifier(view.created_at_column), sql.Identifier(view.tombstone_column)
        )
        query += sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS later WHERE {})").format(
            sql.SQL(view.relation), sql.SQL(" AND ").join([*pairs, withdrawn])
        )
    return _execute(connection, view, query + sql.SQL(" LIMIT 1")).fetchone() is not None


def some_keys(connection: psycopg.Connection, view: SnapshotView, as_of: datetime, count: int) -> list[tuple[Any, ...]]:
    """The join keys of `count` current rows of `view` at `as_of`, or of all if there are fewer; the same each time.

    In the order of a hash, so that they are spread over all of them. Raises UsageError for a table not as defined.
    """
    query = sql.SQL("SELECT {keys} FROM ({rows}) AS rows ORDER BY hashtextextended(ROW({keys})::text, 0) LIMIT {count}")
    keys = _comma(_key_names(view))
    rows = current_rows_query(view, as_of)
    return _execute(connection, view, query.format(keys=keys, rows=rows, count=sql.Literal(count))).fetchall()


def current_rows_of(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The current rows of `view` at `as_of` for these join keys: each key to its features, then the row's own as_of.

    Without join keys the one row of the view under (). Raises UsageError when the table is not as defined.
    """
    query = current_rows_query(view, as_of, keys)
    width = len(view.join_keys)
    return {row[:width]: row[width:] for row in _execute(connection, view, query)}


def current_rows_query(
    view: SnapshotView,
    as_of: datetime,
    keys: Sequence[tuple[Any, ...]] | None = None,
    partition: Partition = ALL,
) -> sql.Composed:
    """The current rows of `view` at `as_of`: join keys as key_0, key_1, ..., features as f0, f1, ..., then as_of.

    Of all entities, of those with these `keys`, or of those in `partition`. A tombstone reads as no row: an earlier
    as_of that is not older than the view's ttl counts then.
    """
    key_names, features = _key_names(view), [sql.Identifier(f"f{number}") for number in range(len(view.features))]
    newest = [*key_names, sql.SQL("{} DESC").format(AS_OF)]
    known = [sql.SQL("{} DESC").format(sql.Identifier(view.created_at_column))] if view.created_at_column else []
    withdrawn = sql.Identifier(view.tombstone_column) if view.tombstone_column else sql.SQL("false")
    # The inner order is the outer one and more, so that Postgres sorts once.
    return sql.SQL(
        "SELECT {one_a_key} {columns} FROM (\n"
        "  SELECT DISTINCT ON ({key_and_as_of}) {inner_columns} FROM {relation} AS snapshots\n"
        "  WHERE {conditions} ORDER BY {latest_known}\n"
        ") AS latest_known WHERE {withdrawn} IS NOT TRUE ORDER BY {newest}{limit}"
    ).format(
        one_a_key=sql.SQL("DISTINCT ON ({})").format(_comma(key_names)) if key_names else sql.SQL(""),
        columns=_comma([*key_names, *features, AS_OF]),
        key_and_as_of=_comma([*key_names, AS_OF]),
        inner_columns=_comma([*_columns(view), sql.SQL("{} AS {}").format(withdrawn, _WITHDRAWN)]),
        relation=sql.SQL(view.relation),
        conditions=sql.SQL(" AND ").join(conditions_of(view, as_of, keys, partition)),
        latest_known=_comma([*newest, *known]),
        withdrawn=_WITHDRAWN,
        newest=_comma(newest),
        limit=sql.SQL("" if key_names else " LIMIT 1"),
    )


def current_entities_query(
    views: Sequence[SnapshotView],
    as_of: datetime,
    partition: Partition = ALL,
    keys: Sequence[tuple[Any, ...]] | None = None,
) -> str:
    """The current rows of views with the same join keys side by side, one entity a row: join keys, then of each view
    the features and as_of; NULLs where an entity has no row of a view. In no order.
    """
    key_names = _key_names(views[0])
    columns: list[sql.Composable] = list(key_names)
    sources = sql.Composed([])
    for number, view in enumerate(views):
        name = sql.Identifier(f"v{number}")
        columns += [sql.SQL("{}.{}").format(name, sql.Identifier(f"f{place}")) for place in range(len(view.features))]
        columns.append(sql.SQL("{}.{}").format(name, AS_OF))
        rows = sql.SQL("({}) AS {}").format(current_rows_query(view, as_of, keys, partition), name)
        if number:
            on = sql.SQL("USING ({})").format(_comma(key_names)) if key_names else sql.SQL("ON true")
            rows = sql.SQL("{}\nFULL JOIN {} {}").format(sources, rows, on)
        sources = rows
    return sql.SQL("SELECT {} FROM {}").format(_comma(columns), sources).as_string(None)


def entities_query(view: SnapshotView, as_of: datetime) -> str:
    """The join keys of the rows of `view` that can be current at `as_of`, each once: about as many as are current."""
    keys, _ = read_expressions(view)
    return (
        sql.SQL("SELECT DISTINCT {keys} FROM {relation} AS snapshots WHERE {conditions}")
        .format(
            keys=_comma(keys or [sql.Literal(1)]),
            relation=sql.SQL(view.relation),
            conditions=sql.SQL(" AND ").join(window_conditions(view, as_of)),
        )
        .as_string(None)
    )


def read_expressions(view: SnapshotView) -> tuple[list[sql.Composed], list[sql.Composed]]:
    """What is read of a row: its join keys, and its features; as text where the definition says so."""
    # Whatever type the source has: Arrow cannot print all that Postgres can.
    keys = [sql.SQL("{}{}").format(sql.Identifier(key.column), _cast(key.type)) for key in view.join_keys]
    features = [sql.SQL("{}{}").format(sql.Identifier(one.column), _cast(one.type)) for one in view.features]
    return keys, features


def window_conditions(view: SnapshotView, as_of: datetime) -> list[sql.Composable]:
    """What holds of every row that can be current at `as_of`: it is not of later, and not older than the view's ttl."""
    column = sql.Identifier(view.as_of_column)
    conditions: list[sql.Composable] = [sql.SQL("{} <= {}").format(column, sql.Literal(as_of))]
    if view.ttl is not None:
        conditions.append(sql.SQL("{} >= {}").format(column, sql.Literal(as_of - view.ttl)))
    return conditions


def conditions_of(
    view: SnapshotView, as_of: datetime, keys: Sequence[tuple[Any, ...]] | None = None, partition: Partition = ALL
) -> list[sql.Composable]:
    """What holds of every row that can be current at `as_of`, of those with these `keys`, in `partition`."""
    conditions = window_conditions(view, as_of)
    columns = [sql.Identifier(key.column) for key in view.join_keys]
    if keys is not None and len(columns) == 1:
        conditions.append(sql.SQL("{} = ANY({})").format(*columns, sql.Literal([value for (value,) in keys])))
    elif keys is not None and columns:
        rows = _comma(sql.SQL("({})").format(_comma(map(sql.Literal, key))) for key in keys)
        conditions.append(sql.SQL("({}) IN ({})").format(_comma(columns), rows))
    if partition.count > 1 and columns:
        # The text of the values: the same entity is in the same partition whatever types two sources have.
        key = columns[0] if len(columns) == 1 else sql.SQL("ROW({})").format(_comma(columns))
        remainder = sql.SQL("(hashtext({}::text) & {}) % {} = {}")
        conditions.append(remainder.format(key, *map(sql.Literal, (2**31 - 1, partition.count, partition.number))))
    return conditions


def _columns(view: SnapshotView) -> list[sql.Composable]:
    keys, features = read_expressions(view)
    names = [*_key_names(view), *(sql.Identifier(f"f{number}") for number in range(len(features)))]
    named = [sql.SQL("{} AS {}").format(one, name) for one, name in zip([*keys, *features], names, strict=True)]
    return [*named, sql.SQL("{} AS {}").format(sql.Identifier(view.as_of_column), AS_OF)]


def _cast(value_type: str) -> sql.SQL:
    return sql.SQL({"STRING": "::text", "STRING_LIST": "::text[]"}.get(value_type, ""))


def _key_names(view: SnapshotView) -> list[sql.Identifier]:
    return [sql.Identifier(KEY.format(number)) for number in range(len(view.join_keys))]


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _execute(connection: psycopg.Connection, view: SnapshotView, query: sql.Composed) -> "psycopg.Cursor[Any]":
    try:
        return connection.execute(query)
    except _MISFITS as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"feature view {view.name} does not fit its source {view.source}: {reason}") from error
