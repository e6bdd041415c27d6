"""The SQL of a point-in-time join, right in both times.

For an entity row (keys, t) and a feature view: the row of the view's source that is current at t by the rule of
`jobs.current_row`, among those that were known by t + grace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from jobs.current_row import (
    SnapshotSource,
    TypedColumn,
    comma,
    conjunction,
    instant,
    key_is,
    key_operand,
    source_column,
)

ROW = sql.Identifier("__row")
AS_OF = sql.Identifier("__as_of")
WITHDRAWN = sql.Identifier("__withdrawn")


@dataclass(frozen=True)
class EntityKey:
    """A join key: its column in the entity rows and its column in the source."""

    entity_column: str
    source_column: TypedColumn


@dataclass(frozen=True)
class ViewSource:
    """One feature view as the join reads it."""

    snapshots: SnapshotSource
    keys: tuple[EntityKey, ...]
    features: tuple[str, ...]
    """The source's columns of the features that are asked for."""
    ttl: timedelta | None
    """None: a row is never too old."""
    grace: timedelta
    """How long after the entity row's instant a row may still have become known."""


@dataclass(frozen=True)
class EntityRows:
    """The rows to which features are joined: a relation of the columns `__row` (1, 2, ...), keys and instant."""

    relation: sql.Composable
    instant: str
    columns: tuple[str, ...]
    """What the join repeats in front of the features."""


def entity_rows_of_query(query: str, instant: str, columns: Sequence[str]) -> EntityRows:
    """The rows of `query` in its own order, with all of its `columns`."""
    relation = sql.SQL("SELECT row_number() OVER () AS {row}, q.* FROM (\n{query}\n) AS q").format(
        row=ROW, query=sql.SQL(query.strip().rstrip(";"))
    )
    return EntityRows(relation, instant, tuple(columns))


def entity_rows_of_arrays(arrays: Sequence[tuple[str, str, list[object]]], instant: str) -> EntityRows:
    """Rows given as (column, Postgres type, values) of equal length; the join repeats none of them."""
    relation = sql.SQL("SELECT * FROM unnest({arrays}) WITH ORDINALITY AS q({names}, {row})").format(
        arrays=comma(
            sql.SQL("{}::{}[]").format(sql.Literal(values), sql.SQL(pg_type)) for _, pg_type, values in arrays
        ),
        names=comma(sql.Identifier(name) for name, _, _ in arrays),
        row=ROW,
    )
    return EntityRows(relation, instant, ())


def join_query(entities: EntityRows, views: Sequence[ViewSource]) -> str:
    """The query whose row n is entity row n: the entity columns, then the features of each view in turn.

    The result's columns are read by position: Postgres cuts long names, and views may share names.
    """
    selected = [sql.SQL("e.{}").format(sql.Identifier(column)) for column in entities.columns]
    joins = []
    for number, view in enumerate(views):
        alias = sql.Identifier(f"v{number}")
        selected += [sql.SQL("{}.{}").format(alias, _feature(index)) for index in range(len(view.features))]
        joins.append(
            sql.SQL("LEFT JOIN (\n{latest}\n) AS {alias} ON {alias}.{row} = e.{row}").format(
                latest=_latest(view, entities.instant), alias=alias, row=ROW
            )
        )
    query = sql.SQL(
        "WITH entity_rows AS MATERIALIZED (\n{relation}\n)\nSELECT {selected}\nFROM entity_rows AS e\n{joins}\n"
        "ORDER BY e.{row}"
    )
    return query.format(
        relation=entities.relation, selected=comma(selected), joins=sql.SQL("\n").join(joins), row=ROW
    ).as_string(None)


def _latest(view: ViewSource, instant_column: str) -> sql.Composed:
    """Per entity row the view's row that counts; an entity row without one is left out."""
    source = view.snapshots
    query = sql.SQL(
        "  SELECT DISTINCT ON ({row}) * FROM (\n"
        "    SELECT DISTINCT ON (e.{row}, {as_of})\n"
        "      e.{row}, {as_of} AS {as_of_alias}, {tombstone} AS {withdrawn_alias}{features}\n"
        "    FROM entity_rows AS e JOIN {table} ON {conditions}\n"
        "    ORDER BY e.{row}, {latest_first}\n"
        "  ) AS known\n"
        "  WHERE NOT {withdrawn_alias}\n"
        "  ORDER BY {row}, {as_of_alias} DESC"
    )
    return query.format(
        row=ROW,
        as_of=source.as_of,
        as_of_alias=AS_OF,
        tombstone=source.is_tombstone,
        withdrawn_alias=WITHDRAWN,
        features=sql.SQL("").join(
            sql.SQL(", {} AS {}").format(source_column(name), _feature(index))
            for index, name in enumerate(view.features)
        ),
        table=source.table,
        conditions=conjunction(_conditions(view, instant_column)),
        latest_first=comma(source.latest_first),
    )


def _conditions(view: ViewSource, instant_column: str) -> list[sql.Composable]:
    source, t = view.snapshots, instant(_entity(instant_column))
    conditions: list[sql.Composable] = [
        key_is(
            source_column(key.source_column.name),
            key.source_column.type,
            key_operand(_entity(key.entity_column), key.source_column.type),
        )
        for key in view.keys
    ]
    oldest = None if view.ttl is None else sql.SQL("{} - {}").format(t, sql.Literal(view.ttl))
    conditions += [*source.window(t, oldest), *source.is_complete]
    if source.created_at is not None:
        conditions.append(sql.SQL("{} <= {} + {}").format(source.created_at, t, sql.Literal(view.grace)))
    return conditions


def _entity(column: str) -> sql.Composed:
    return sql.SQL("e.{}").format(sql.Identifier(column))


def _feature(index: int) -> sql.Identifier:
    return sql.Identifier(f"f{index}")
