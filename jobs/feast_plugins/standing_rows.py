"""The rows of a source that stand, for the queries that Feast itself makes of sources: one for each key and as_of."""

from collections.abc import Sequence

from feast.data_source import DataSource
from feast.infra.utils.postgres.postgres_config import PostgreSQLConfig
from psycopg import sql
from psycopg.postgres import types

from jobs.current_row import SnapshotSource, TypedColumn, comma, source_column
from jobs.feast_plugins.result_columns import described
from jobs.feast_plugins.sessions import offline_session
from jobs.feast_sources import TOMBSTONE_TAG

# Feast's sessions are not in UTC: what has no zone is told that it is.
_IN_UTC = {types["timestamp"].oid: "{} AT TIME ZONE 'UTC'", types["date"].oid: "{}::timestamp AT TIME ZONE 'UTC'"}
# Columns that Postgres orders as the rule of the current row does; the others it orders as text.
_ORDERED_TYPES = ("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "bytea", "date", "timestamp",
                  "timestamptz")  # fmt: skip
_ORDERED = frozenset(oid for name in _ORDERED_TYPES for oid in (types[name].oid, types[name].array_oid))


def standing_rows(
    config: PostgreSQLConfig, source: DataSource, join_keys: Sequence[str], as_of: str, created_at: str | None
) -> str:
    """The query of the rows that stand for their as_of by the rule of the current row; tombstones stand for nothing.

    All columns of the source, the two times as instants. Raises psycopg.Error for a source that is not there.
    """
    relation = source.get_table_query_string()
    with offline_session(config) as connection:
        columns = described(connection, sql.SQL("SELECT * FROM {} AS s").format(sql.SQL(relation)).as_string(None))
    rule = SnapshotSource(
        relation=_with_instants(relation, columns, {as_of, created_at}),
        keys=tuple(TypedColumn(name, "BYTES") for name in join_keys),  # compared as they are, as Feast does
        features=tuple(
            TypedColumn(name, "DOUBLE" if oid in _ORDERED else "STRING")
            for name, oid in columns
            if name not in {*join_keys, as_of, created_at, source.tags.get(TOMBSTONE_TAG)}
        ),
        as_of_column=as_of,
        created_at_column=created_at or None,
        tombstone_column=source.tags.get(TOMBSTONE_TAG) or None,
    )
    query = sql.SQL(
        "SELECT {columns} FROM (\n"
        "  SELECT DISTINCT ON ({pair}) {columns}, {tombstone} AS __withdrawn FROM {table}\n"
        "  WHERE {placed} ORDER BY {order}\n"
        ") AS s WHERE NOT __withdrawn"
    )
    return query.format(
        columns=comma(source_column(name) for name, _ in columns),
        pair=comma([*rule.key, rule.as_of]),
        tombstone=rule.is_tombstone,
        table=rule.table,
        placed=rule.is_placed,
        order=comma([*rule.key, *rule.latest_first]),
    ).as_string(None)


def _with_instants(relation: str, columns: Sequence[tuple[str, int]], times: set[str | None]) -> str:
    selected = [
        sql.SQL("{} AS {}").format(
            sql.SQL(_IN_UTC.get(oid, "{}") if name in times else "{}").format(source_column(name)), sql.Identifier(name)
        )
        for name, oid in columns
    ]
    query = sql.SQL("(SELECT {} FROM {} AS s)").format(comma(selected), sql.SQL(relation))
    return query.as_string(None)
