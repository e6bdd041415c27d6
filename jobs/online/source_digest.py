"""What a materialization would read of a view, as one short text: while it stays the same, so does the result."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from jobs.arrow_query import ArrowSession
from jobs.current_row import comma, conjunction
from jobs.definitions import SnapshotView
from jobs.online.current_rows import (
    ALL,
    Partition,
    current_rows_query,
    in_partition,
    read_features,
    window_of,
)

# Raised whenever the same rows would be written in another way, or a former release may have left others.
FORMAT = 2


@dataclass(frozen=True)
class SourceSum:
    """Of the rows of a view in sight how many can be current, and the sum of the hashes of all, in whatever order."""

    rows: int = 0
    hashes: int = 0
    left_out: int = 0
    """Rows besides these whose key or time is NULL."""

    def __add__(self, other: "SourceSum") -> "SourceSum":
        """That of two partitions."""
        return SourceSum(self.rows + other.rows, self.hashes + other.hashes, self.left_out + other.left_out)

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
        seen, hashes, left_out = (column[0].as_py() for column in batch.columns)
        sums.append(SourceSum(seen - left_out, int(hashes), left_out))
    return sums


def _query(view: SnapshotView, as_of: datetime, partition: Partition) -> str:
    source = view.snapshots
    values = [*source.key, *read_features(view), source.as_of, *filter(None, [source.created_at])]
    values += [source.is_tombstone] if source.tombstone_column else []
    # What has no key is looked at with the first partition.
    unknown = sql.SQL("IS NOT FALSE" if partition.number == 0 else "")
    within = [sql.SQL("({}) {}").format(condition, unknown) for condition in in_partition(view, partition)]
    return (
        sql.SQL(
            "SELECT count(*), coalesce(sum(hash_record_extended(ROW({values}), 0)), 0)::text, "
            "count(*) FILTER (WHERE ({placed}) IS NOT TRUE)\n"
            "FROM {table} WHERE {conditions}"
        )
        .format(
            placed=source.is_placed,
            values=comma(values),
            table=source.table,
            conditions=conjunction([source.in_sight(window_of(view, as_of)), *within]),
        )
        .as_string(None)
    )
