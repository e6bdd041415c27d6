"""The SQL of a point-in-time join, right in both times.

For an entity row (keys, t) and a feature view, among the rows of the view's source with these keys that were known by
t + grace: per as_of the one with the latest created_at counts; where that one is a tombstone the as_of is absent; of
the remaining the greatest as_of <= t wins, unless it is older than t - ttl (t - ttl itself is young enough).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

ROW = sql.Identifier("__row")
AS_OF = sql.Identifier("__as_of")
WITHDRAWN = sql.Identifier("__withdrawn")


@dataclass(frozen=True)
class EntityKey:
    """A join key: its column in the entity rows and its column in the source."""

    entity_column: str
    source_column: str


@dataclass(frozen=True)
class ViewSource:
    """One feature view as the join reads it; columns are named as in the source."""

    relation: str
    """A table, or a query in parentheses."""
    keys: tuple[EntityKey, ...]
    features: tuple[str, ...]
    as_of: str
    created_at: str | None
    tombstone: str | None
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
        arrays=_list(
            sql.SQL("{}::{}[]").format(sql.Literal(values), sql.SQL(pg_type)) for _, pg_type, values in arrays
        ),
        names=_list(sql.Identifier(name) for name, _, _ in arrays),
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
        relation=entities.relation, selected=_list(selected), joins=sql.SQL("\n").join(joins), row=ROW
    ).as_string(None)


def current_rows_query(
    relation: str, key_columns: Sequence[str], as_of: str, created_at: str | None, tombstone: str
) -> str:
    """The rows of a source that count today: per (keys, as_of) the latest created_at, tombstones left out."""
    pair = [sql.Identifier(column) for column in (*key_columns, as_of)]
    order: list[sql.Composable] = list(pair)
    if created_at:
        order.append(sql.SQL("{} DESC").format(sql.Identifier(created_at)))
    query = sql.SQL(
        "SELECT * FROM (SELECT DISTINCT ON ({pair}) * FROM {relation} AS s ORDER BY {order}) AS known\n"
        "WHERE NOT COALESCE({tombstone}, false)"
    )
    return query.format(
        pair=_list(pair),
        relation=sql.SQL(relation),
        order=_list(order),
        tombstone=sql.Identifier(tombstone),
    ).as_string(None)


def _latest(view: ViewSource, instant: str) -> sql.Composed:
    """Per entity row the view's row that counts; an entity row without one is left out."""
    query = sql.SQL(
        "  SELECT DISTINCT ON ({row}) * FROM (\n"
        "    SELECT DISTINCT ON (e.{row}, s.{as_of})\n"
        "      e.{row}, s.{as_of} AS {as_of_alias}, {withdrawn} AS {withdrawn_alias}{features}\n"
        "    FROM entity_rows AS e JOIN {relation} AS s ON {conditions}\n"
        "    ORDER BY {order}\n"
        "  ) AS known\n"
        "  WHERE NOT COALESCE({withdrawn_alias}, false)\n"
        "  ORDER BY {row}, {as_of_alias} DESC"
    )
    return query.format(
        row=ROW,
        as_of=sql.Identifier(view.as_of),
        as_of_alias=AS_OF,
        withdrawn=_source(view.tombstone) if view.tombstone else sql.SQL("false"),
        withdrawn_alias=WITHDRAWN,
        features=sql.SQL("").join(
            sql.SQL(", {} AS {}").format(_source(column), _feature(index)) for index, column in enumerate(view.features)
        ),
        relation=sql.SQL(view.relation),
        conditions=sql.SQL(" AND ").join(_conditions(view, instant)),
        order=_list(_order(view)),
    )


def _conditions(view: ViewSource, instant: str) -> list[sql.Composable]:
    t, as_of = sql.SQL("e.{}").format(sql.Identifier(instant)), _source(view.as_of)
    conditions: list[sql.Composable] = [
        sql.SQL("s.{} = e.{}").format(sql.Identifier(key.source_column), sql.Identifier(key.entity_column))
        for key in view.keys
    ]
    conditions.append(sql.SQL("{} <= {}").format(as_of, t))
    if view.ttl is not None:
        conditions.append(sql.SQL("{} >= {} - {}").format(as_of, t, sql.Literal(view.ttl)))
    if view.created_at:
        conditions.append(sql.SQL("{} <= {} + {}").format(_source(view.created_at), t, sql.Literal(view.grace)))
    return conditions


def _order(view: ViewSource) -> list[sql.Composable]:
    order: list[sql.Composable] = [sql.SQL("e.{}").format(ROW), sql.SQL("{} DESC").format(_source(view.as_of))]
    if view.created_at:
        order.append(sql.SQL("{} DESC").format(_source(view.created_at)))
    return order + tie_order(view)


def tie_order(view: ViewSource) -> list[sql.Composable]:
    """How two rows of equal times are ordered: the choice must not hang on where the table happens to hold them."""
    order: list[sql.Composable] = [sql.SQL("{}::text").format(_source(column)) for column in view.features]
    if view.tombstone:
        order.append(sql.SQL("COALESCE({}, false)").format(_source(view.tombstone)))
    return order


def _source(column: str) -> sql.Composed:
    return sql.SQL("s.{}").format(sql.Identifier(column))


def _feature(index: int) -> sql.Identifier:
    return sql.Identifier(f"f{index}")


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
