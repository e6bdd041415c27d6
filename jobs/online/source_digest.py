"""What a materialization would read of a view, as one short text: while it stays the same, so does the result."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from jobs.arrow_query import ArrowSession
from jobs.definitions import SnapshotView
from jobs.online.current_rows import ALL, Partition, conditions_of, current_rows_query, read_expressions

# Raised whenever the same rows would be written in another way.
FORMAT = 1


@dataclass(frozen=True)
class SourceSum:
    """Of a view's rows that can be current their number and the sum of their hashes, in whatever order they are."""

    rows: int = 0
    hashes: int = 0

    def __add__(self, other: "SourceSum") -> "SourceSum":
        """That of two partitions."""
        return SourceSum(self.rows + other.rows, self.hashes + other.hashes)

    def digest(self, view: SnapshotView, as_of: datetime) -> str:
        """As a text of which also is a part what is read of the rows, and as what type."""
        read = current_rows_query(view, as_of).as_string(None)
        types = [feature.type for feature in view.features] + [key.type for key in view.join_keys]
        text = f"{FORMAT}\n{read}\n{types}\n{self.rows}\n{self.hashes or None}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_sums(
    session: ArrowSession, views: Sequence[SnapshotView], as_of: datetime, partition: Partition = ALL
) -> list[SourceSum]:
    """For each view that of every row of `partition` with as_of up to T that is not older than the ttl.

    Computed by Postgres in one pass without a sort. Raises as `ArrowSession.batches` does.
    """
    # Without a sort there is little to divide, and other work needs the processors meanwhile.
    session.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    sums = []
    for view in views:
        (batch,) = session.batches(_query(view, as_of, partition))
        rows, hashes = (column[0].as_py() for column in batch.columns)
        sums.append(SourceSum(rows, int(hashes)))
    return sums


def _query(view: SnapshotView, as_of: datetime, partition: Partition) -> str:
    keys, features = read_expressions(view)
    times = [view.as_of_column, view.created_at_column, view.tombstone_column]
    return (
        sql.SQL(
            "SELECT count(*), coalesce(sum(hash_record_extended(ROW({columns}), 0)), 0)::text\n"
            "FROM {relation} AS snapshots WHERE {conditions}"
        )
        .format(
            columns=_comma([*keys, *features, *(sql.Identifier(time) for time in times if time)]),
            relation=sql.SQL(view.relation),
            conditions=sql.SQL(" AND ").join(conditions_of(view, as_of, partition=partition)),
        )
        .as_string(None)
    )


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
