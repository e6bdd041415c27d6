"""Which row of a snapshot table is current at T: the greatest (as_of, created_at) with as_of <= T, within ttl."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from jobs.definitions import SnapshotView
from jobs.errors import UsageError

BATCH_ROWS = 1000
# What Postgres says of a table or column that is not there, or not of a type that the query can use.
_MISFITS = (
    psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction,
    psycopg.errors.DatatypeMismatch, psycopg.errors.SyntaxError,
)  # fmt: skip


def check_source(connection: psycopg.Connection, view: SnapshotView) -> None:
    """Return when the current rows of `view` can be read. Raises UsageError when its table is not as defined."""
    query = sql.SQL("EXPLAIN ") + current_rows_query(view)
    _execute(connection.cursor(), view, query, _bounds(view, datetime.now(UTC)))


def newest_as_of(connection: psycopg.Connection, views: Sequence[SnapshotView], until: datetime) -> datetime | None:
    """The newest as_of not after `until` in the tables of `views`; None when there is none."""
    newest: datetime | None = None
    for view in views:
        query = sql.SQL("SELECT max({as_of}) FROM {relation} AS snapshots WHERE {as_of} <= %s").format(
            as_of=sql.Identifier(view.as_of_column), relation=_relation(view)
        )
        row = _execute(connection.cursor(), view, query, [until]).fetchone()
        if row is not None and row[0] is not None and (newest is None or row[0] > newest):
            newest = row[0]
    return newest


def current_rows(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime
) -> Iterator[list[tuple[Any, ...]]]:
    """The current rows of `view` at `as_of` in batches: join keys, features, then the row's own as_of; ordered by key.

    A tombstone reads as no row: an earlier as_of that is not older than the view's ttl counts then. Streams by a
    server-side cursor, so `connection` must be in a transaction. Raises UsageError when the table is not as defined.
    """
    with connection.cursor(name=f"current {view.name}") as cursor:
        cursor.itersize = BATCH_ROWS
        _execute(cursor, view, current_rows_query(view), _bounds(view, as_of))
        while batch := cursor.fetchmany(BATCH_ROWS):
            yield batch


def some_keys(connection: psycopg.Connection, view: SnapshotView, as_of: datetime, count: int) -> list[tuple[Any, ...]]:
    """The join keys of `count` current rows of `view` at `as_of`, or of all if there are fewer; the same each time.

    In the order of a hash, so that they are spread over all of them. Raises UsageError like `current_rows`.
    """
    query = sql.SQL("SELECT {keys} FROM ({rows}) AS rows ORDER BY hashtextextended(ROW({keys})::text, 0) LIMIT %s")
    keys = sql.SQL(", ").join(_keys(view))
    values = [*_bounds(view, as_of), count]
    return _execute(
        connection.cursor(), view, query.format(keys=keys, rows=current_rows_query(view)), values
    ).fetchall()


def current_rows_of(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The current rows of `view` at `as_of` for these join keys: each key to its features, then the row's own as_of.

    Without join keys the one row of the view under (). Raises UsageError like `current_rows`.
    """
    query, values = current_rows_query(view), list[Any](_bounds(view, as_of))
    if view.join_keys:
        comma = sql.SQL(", ").join
        one = sql.SQL("({})").format(comma([sql.Placeholder()] * len(view.join_keys)))
        query = sql.SQL("SELECT * FROM ({rows}) AS rows WHERE ({names}) IN ({keys})").format(
            rows=query, names=comma(_keys(view)), keys=comma([one] * len(keys))
        )
        values += [value for key in keys for value in key]
    width = len(view.join_keys)
    return {row[:width]: row[width:] for row in _execute(connection.cursor(), view, query, values)}


def _keys(view: SnapshotView) -> list[sql.Identifier]:
    return [sql.Identifier(key.column) for key in view.join_keys]


def _execute(
    cursor: "psycopg.Cursor[Any] | psycopg.ServerCursor[Any]",
    view: SnapshotView,
    query: sql.Composed,
    values: Sequence[Any],
) -> "psycopg.Cursor[Any] | psycopg.ServerCursor[Any]":
    try:
        cursor.execute(query, values)
    except _MISFITS as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"feature view {view.name} does not fit its source {view.source}: {reason}") from error
    return cursor


def _relation(view: SnapshotView) -> sql.SQL:
    # A source may be a query of the repository's own; its percent signs are no placeholders of ours.
    return sql.SQL(view.relation.replace("%", "%%"))


def _bounds(view: SnapshotView, as_of: datetime) -> list[datetime]:
    return [as_of] if view.ttl is None else [as_of, as_of - view.ttl]


def current_rows_query(view: SnapshotView) -> sql.Composed:
    """The query behind `current_rows`; its parameters are T and, for a view with a ttl, T - ttl."""
    as_of = sql.Identifier(view.as_of_column)
    keys = [sql.Identifier(key.column) for key in view.join_keys]
    features = [sql.Identifier(feature.column) for feature in view.features]
    known = [sql.SQL("{} DESC").format(sql.Identifier(view.created_at_column))] if view.created_at_column else []
    tombstone = [sql.Identifier(view.tombstone_column)] if view.tombstone_column else []
    comma = sql.SQL(", ").join
    return sql.SQL(
        """SELECT {on_key} {columns} FROM (
               SELECT DISTINCT ON ({key_and_as_of}) {inner_columns}
               FROM {relation} AS snapshots
               WHERE {as_of} <= %s{not_older}
               ORDER BY {latest_known}
           ) AS latest_known{not_tombstone}
           ORDER BY {newest}"""
    ).format(
        on_key=sql.SQL("DISTINCT ON ({})").format(comma(keys)) if keys else sql.SQL(""),
        columns=comma([*keys, *features, as_of]),
        key_and_as_of=comma([*keys, as_of]),
        inner_columns=comma([*keys, *features, as_of, *tombstone]),
        relation=_relation(view),
        as_of=as_of,
        not_older=sql.SQL(" AND {} >= %s").format(as_of) if view.ttl is not None else sql.SQL(""),
        latest_known=comma([*keys, as_of, *known]),
        not_tombstone=sql.SQL(" WHERE NOT {}").format(*tombstone) if tombstone else sql.SQL(""),
        newest=comma([*keys, sql.SQL("{} DESC").format(as_of)]) + (sql.SQL("") if keys else sql.SQL(" LIMIT 1")),
    )
