"""Streams in the order of their key, taken in step."""

import pyarrow as pa
import pytest

from jobs.key_order import KeyOrderedRows, key_of, parts


def stream(*batches: list[tuple[str | None, int]]) -> KeyOrderedRows:
    schema = pa.schema({"user": pa.string(), "number": pa.int64()})
    return KeyOrderedRows(
        [
            pa.RecordBatch.from_pylist([{"user": user, "number": number} for user, number in rows], schema)
            for rows in batches
        ],
        [0],
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_parts_hold_all_rows_of_a_key_from_every_stream_and_each_row_once(rows: int) -> None:
    one = stream([("Z", 1), ("a", 2)], [("a", 3)], [], [("é", 4)], [(None, 5)])
    other = stream([], [("a", 6)], [("b", 7), ("é", 8)])
    taken = [(one.until(last).to_pylist(), other.until(last).to_pylist()) for last in parts([one, other], rows)]
    assert [row["number"] for part, _ in taken for row in part] == [1, 2, 3, 4, 5]
    assert [row["number"] for _, part in taken for row in part] == [6, 7, 8]
    for part in taken:
        users = {row["user"] for rows_of in part for row in rows_of}
        others = {
            row["user"] for other_part in taken if other_part is not part for rows_of in other_part for row in rows_of
        }
        assert not users & others


def test_a_stream_without_rows_keeps_its_columns() -> None:
    assert stream([]).until(None).column_names == ["user", "number"]


def test_null_comes_after_every_value() -> None:
    table = pa.table({"user": ["\U0010ffff", None]})
    assert key_of(table, [0], 0) < key_of(table, [0], 1)
