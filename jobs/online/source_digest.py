"""What a materialization would read of a view, as one short text: while it stays the same, so does the result."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from jobs.definitions import SnapshotView
from jobs.online.current_rows import current_rows_query, read_expressions, window_conditions

# Raised whenever the same rows would be written in another way.
FORMAT = 1
SAMPLED = 64
"""One in so many keys is counted; a power of two."""


@dataclass(frozen=True)
class SourceDigest:
    """The digest of a view's rows that can be current, and about how many entities they are of."""

    digest: str
    entities: int


def source_digest(connection: psycopg.Connection, view: SnapshotView, as_of: datetime) -> SourceDigest:
    """Of every row with as_of up to T that is not older than the ttl: their number and the sum of their hashes.

    Computed by Postgres in one pass without a sort; the order of the rows does not matter. What is read of them, and
    as what type, is a part of it.
    """
    keys, features = read_expressions(view)
    times = [view.as_of_column, view.created_at_column, view.tombstone_column]
    key = sql.SQL("{}::text").format(keys[0] if len(keys) == 1 else sql.SQL("ROW({})").format(_comma(keys)))
    query = sql.SQL(
        "SELECT count(*), sum(hash_record_extended(ROW({columns}), 0)),\n"
        "  {sampled} * count(DISTINCT hashtextextended({key}, 0)) FILTER (WHERE hashtext({key}) & {sampled} - 1 = 0)\n"
        "FROM {relation} AS snapshots WHERE {conditions}"
    ).format(
        columns=_comma([*keys, *features, *(sql.Identifier(time) for time in times if time)]),
        key=key if keys else sql.Literal(""),
        sampled=sql.Literal(SAMPLED),
        relation=sql.SQL(view.relation),
        conditions=sql.SQL(" AND ").join(window_conditions(view, as_of)),
    )
    rows, total, entities = connection.execute(query).fetchone() or (0, 0, 0)
    read = current_rows_query(view, as_of).as_string(None)
    types = [feature.type for feature in view.features] + [key.type for key in view.join_keys]
    text = f"{FORMAT}\n{read}\n{types}\n{rows}\n{total}"
    return SourceDigest(hashlib.sha256(text.encode()).hexdigest()[:32], min(entities, rows))


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
