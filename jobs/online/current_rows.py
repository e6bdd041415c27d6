"""The current rows of feature views at T by the rule of `jobs.current_row`, as materialization and checks read them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from jobs.current_row import comma, conjunction, feature_value, key_is, key_type, source_column
from jobs.definitions import SnapshotView
from jobs.errors import UsageError
from jobs.instants import earlier

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
    """The entities whose key's hash under `seed`, modulo `count`, is `number`; one of one is all."""

    number: int = 0
    count: int = 1
    seed: int = 0

    def split(self, parts: int) -> "list[Partition]":
        """The same entities in so many partitions."""
        return [replace(self, number=self.number + part * self.count, count=parts * self.count)
                for part in range(parts)]  # fmt: skip


ALL = Partition()


def check_source(connection: psycopg.Connection, view: SnapshotView) -> None:
    """Return when the current rows of `view` can be read. Raises UsageError when its table is not as defined."""
    _execute(connection, view, sql.SQL("EXPLAIN ") + current_rows_query(view, datetime.now(UTC)))


def newest_as_of(connection: psycopg.Connection, views: Sequence[SnapshotView], until: datetime) -> datetime | None:
    """The newest as_of not after `until` in the tables of `views`; None when there is none."""
    newest: datetime | None = None
    for view in views:
        source = view.snapshots
        query = sql.SQL("SELECT max({as_of}) FROM {table} WHERE {placed} AND {as_of} <= {until}").format(
            as_of=source.as_of, table=source.table, placed=source.is_placed, until=sql.Literal(until)
        )
        row = _execute(connection, view, query).fetchone()
        if row is not None and row[0] is not None and (newest is None or row[0] > newest):
            newest = row[0]
    return newest


def has_current_row(connection: psycopg.Connection, view: SnapshotView, as_of: datetime) -> bool:
    """Whether `view` has a current row at `as_of`. Raises UsageError when its table is not as defined."""
    # One of the first that come is current, unless much was withdrawn; to ask it of all costs a pass over the table.
    if _has_untouched_row(connection, view, as_of, among=100):
        return True
    query = sql.SQL("SELECT FROM ({}) AS rows LIMIT 1").format(current_rows_query(view, as_of))
    return _execute(connection, view, query).fetchone() is not None


def _has_untouched_row(connection: psycopg.Connection, view: SnapshotView, as_of: datetime, among: int) -> bool:
    """Whether of the first rows in the window one is no tombstone, and has none at its own key and as_of."""
    source = view.snapshots
    rows = sql.SQL("SELECT * FROM {table} WHERE {conditions} AND NOT {tombstone} LIMIT {among}").format(
        table=source.table,
        conditions=conjunction(conditions_of(view, as_of)),
        tombstone=source.is_tombstone,
        among=sql.Literal(among),
    )
    query = sql.SQL("SELECT FROM ({}) AS s").format(rows)
    if view.tombstone_column:
        same = [sql.Identifier(column) for column in (*(key.column for key in view.join_keys), view.as_of_column)]
        pairs = [sql.SQL("other.{0} = s.{0}").format(column) for column in same]
        query += sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS other WHERE {} AND other.{})").format(
            sql.SQL(view.relation), conjunction(pairs), sql.Identifier(view.tombstone_column)
        )
    return _execute(connection, view, query + sql.SQL(" LIMIT 1")).fetchone() is not None


def some_keys(connection: psycopg.Connection, view: SnapshotView, as_of: datetime, count: int) -> list[tuple[Any, ...]]:
    """The join keys of `count` current rows of `view` at `as_of`, or of all if there are fewer; the same each time.

    In the order of a hash, so that they are spread over all of them. Raises UsageError for a table not as defined.
    """
    query = sql.SQL("SELECT {keys} FROM ({rows}) AS rows ORDER BY hashtextextended(ROW({keys})::text, 0) LIMIT {count}")
    keys = comma(_key_names(view))
    rows = current_rows_query(view, as_of)
    return _execute(connection, view, query.format(keys=keys, rows=rows, count=sql.Literal(count))).fetchall()


def current_rows_of(
    connection: psycopg.Connection, view: SnapshotView, as_of: datetime, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The current rows of `view` at `as_of` for these join keys: each key to its features, then the row's own as_of.

    There is one key at least; without join keys the one row of the view is under ().

    Raises UsageError when the table is not as defined.
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

    Of all entities, of those with these `keys`, or of those in `partition`.
    """
    source, key_names = view.snapshots, _key_names(view)
    features = [sql.Identifier(f"f{number}") for number in range(len(view.features))]
    names = [*key_names, *features, AS_OF, _WITHDRAWN]
    values = [*source.key, *read_features(view), source.as_of, source.is_tombstone]
    # The inner order is the outer one and more, so that Postgres sorts once.
    return sql.SQL(
        "SELECT {one_a_key} {columns} FROM (\n"
        "  SELECT DISTINCT ON ({key_and_as_of}) {inner_columns} FROM {table}\n"
        "  WHERE {conditions} ORDER BY {latest_first}\n"
        ") AS latest_known WHERE NOT {withdrawn} ORDER BY {newest}{limit}"
    ).format(
        one_a_key=sql.SQL("DISTINCT ON ({})").format(comma(key_names)) if key_names else sql.SQL(""),
        columns=comma([*key_names, *features, AS_OF]),
        key_and_as_of=comma([*source.key, source.as_of]),
        inner_columns=comma(sql.SQL("{} AS {}").format(value, name) for value, name in zip(values, names, strict=True)),
        table=source.table,
        conditions=conjunction(conditions_of(view, as_of, keys, partition)),
        latest_first=comma([*source.key, *source.latest_first]),
        withdrawn=_WITHDRAWN,
        newest=comma([*key_names, sql.SQL("{} DESC").format(AS_OF)]),
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
            on = sql.SQL("USING ({})").format(comma(key_names)) if key_names else sql.SQL("ON true")
            rows = sql.SQL("{}\nFULL JOIN {} {}").format(sources, rows, on)
        sources = rows
    return sql.SQL("SELECT {} FROM {}").format(comma(columns), sources).as_string(None)


def entities_query(view: SnapshotView, as_of: datetime, partition: Partition = ALL) -> str:
    """The join keys of the rows of `view` that can be current at `as_of`, each once: about as many as are current."""
    source = view.snapshots
    keys = [sql.SQL("{} AS {}").format(*pair) for pair in zip(source.key, _key_names(view), strict=True)]
    return (
        sql.SQL("SELECT DISTINCT {keys} FROM {table} WHERE {conditions}")
        .format(
            keys=comma(keys or [sql.Literal(1)]),
            table=source.table,
            conditions=conjunction(conditions_of(view, as_of, partition=partition)),
        )
        .as_string(None)
    )


def read_features(view: SnapshotView) -> list[sql.Composable]:
    """What is read of a row's features."""
    return [feature_value(source_column(one.column), one.type) for one in view.features]


def window_of(view: SnapshotView, as_of: datetime) -> list[sql.Composable]:
    """What holds of every row that can be current at `as_of`."""
    oldest = None if view.ttl is None else earlier(as_of, view.ttl)
    return view.snapshots.window(sql.Literal(as_of), None if oldest is None else sql.Literal(oldest))


def conditions_of(
    view: SnapshotView, as_of: datetime, keys: Sequence[tuple[Any, ...]] | None = None, partition: Partition = ALL
) -> list[sql.Composable]:
    """What holds of every row that can be current at `as_of`, of those with these `keys`, in `partition`."""
    conditions = [*window_of(view, as_of), *view.snapshots.is_complete]
    if keys is not None and view.join_keys:
        conditions.append(_among(view, keys))
    return [*conditions, *in_partition(view, partition)]


def in_partition(view: SnapshotView, partition: Partition) -> list[sql.Composable]:
    """What holds of the rows of these entities; NULL of a row whose key is."""
    key = view.snapshots.key
    if partition.count == 1 or not key:
        return []
    # Of what the Redis key is made of: an entity is in the same partition whatever types its sources have.
    text = sql.SQL("{}::text").format(key[0] if len(key) == 1 else sql.SQL("ROW({})").format(comma(key)))
    seeded = sql.SQL("hashtextextended({}, {})").format(text, sql.Literal(partition.seed))
    hashed = seeded if partition.seed else sql.SQL("hashtext({})").format(text)
    literals = map(sql.Literal, (2**31 - 1, partition.count, partition.number))
    return [sql.SQL("({} & {}) % {} = {}").format(hashed, *literals)]


def _among(view: SnapshotView, keys: Sequence[tuple[Any, ...]]) -> sql.Composed:
    """What holds of the rows with these keys."""
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal(list(values)), sql.SQL(key_type(one.type)))
        for one, values in zip(view.join_keys, zip(*keys, strict=True), strict=True)
    ]
    if len(arrays) > 1:
        among = sql.SQL("({}) IN (SELECT * FROM unnest({}))")
        return among.format(comma(view.snapshots.key), comma(arrays))
    (key,), (array,) = view.join_keys, arrays
    return key_is(source_column(key.column), key.type, sql.SQL("ANY ({})").format(array))


def _key_names(view: SnapshotView) -> list[sql.Identifier]:
    return [sql.Identifier(KEY.format(number)) for number in range(len(view.join_keys))]


def _execute(connection: psycopg.Connection, view: SnapshotView, query: sql.Composed) -> "psycopg.Cursor[Any]":
    try:
        return connection.execute(query)
    except _MISFITS as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"feature view {view.name} does not fit its source {view.source}: {reason}") from error
