"""Training rows that several stores wrote to Parquet, compared."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KEYS = ("user_id", "event_timestamp")


def require_equal(files: Sequence[Path]) -> None:
    """RuntimeError, with the columns, unless all hold the same rows, whatever the order of rows and columns."""
    first, *others = files
    expected = _ordered(pq.read_table(first))
    for file in others:
        table = pq.read_table(file)
        if set(table.column_names) != set(expected.column_names):
            raise RuntimeError(f"{file.stem} and {first.stem} have different columns")
        found = _ordered(table)
        different = [name for name in expected.column_names if not _equal(found[name], expected[name])]
        if different:
            raise RuntimeError(f"{file.stem} and {first.stem} differ in {', '.join(different)}")


def _ordered(table: pa.Table) -> pa.Table:
    # An instant is one whether a store says that it is UTC or leaves that out.
    instants = table["event_timestamp"].cast(pa.timestamp("us")).cast(pa.int64())
    table = table.set_column(table.column_names.index("event_timestamp"), "event_timestamp", instants)
    return table.select(sorted(table.column_names)).sort_by([(name, "ascending") for name in KEYS])


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    same: bool = left.length() == right.length() and left.cast(right.type).combine_chunks().equals(
        right.combine_chunks()
    )
    return same
