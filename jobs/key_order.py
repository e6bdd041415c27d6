"""Rows that stream in the order of their key, taken from several streams in step."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from psycopg import sql

Key = tuple[tuple[bool, str | int], ...]
"""Per key column whether it is NULL, which comes last, and its value."""


def key_order(columns: Sequence[sql.Composable], textual: Sequence[bool]) -> sql.Composed:
    """ORDER BY of key columns: text by its bytes, as Arrow and Python compare it, whatever the database's collation."""
    return sql.SQL(", ").join(
        sql.SQL('{} COLLATE "C"').format(column) if text else column
        for column, text in zip(columns, textual, strict=True)
    )


class KeyOrderedRows:
    """Batches, one at least, whose rows come in the order of the columns at the places `key`."""

    def __init__(self, batches: Iterable[pa.RecordBatch], key: Sequence[int]) -> None:
        self._batches: Iterator[pa.RecordBatch] = iter(batches)
        self._columns = key
        self._held: deque[pa.RecordBatch] = deque([next(self._batches)])
        self.schema: pa.Schema = self._held[0].schema
        self._rows = self._held[0].num_rows

    def key_at(self, number: int) -> Key | None:
        """The key of the row so far ahead, from 0; None when there are fewer rows."""
        while self._rows <= number and self._hold_another():
            pass
        if self._rows <= number:
            return None
        for batch in self._held:
            if number < batch.num_rows:
                return self._key(batch, number)
            number -= batch.num_rows
        raise AssertionError("held rows are counted wrongly")

    def until(self, last: Key | None) -> pa.Table:
        """Take all rows up to this key, and those of this key; all that are left for None."""
        taken = []
        while self._held or self._hold_another():
            batch = self._held.popleft()
            count = batch.num_rows if last is None else self._not_after(batch, last)
            self._rows -= count
            taken.append(batch.slice(0, count))
            if count < batch.num_rows:
                self._held.appendleft(batch.slice(count))
                break
        return pa.Table.from_batches(taken, self.schema)

    def _hold_another(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._held.append(batch)
        self._rows += batch.num_rows
        return True

    def _not_after(self, batch: pa.RecordBatch, last: Key) -> int:
        low, high = 0, int(batch.num_rows)
        if high == 0 or self._key(batch, high - 1) <= last:
            return high
        while low < high:
            middle = (low + high) // 2
            if self._key(batch, middle) <= last:
                low = middle + 1
            else:
                high = middle
        return low

    def _key(self, batch: pa.RecordBatch, number: int) -> Key:
        return key_of(batch, self._columns, number)


def key_of(rows: pa.Table | pa.RecordBatch, columns: Sequence[int], number: int) -> Key:
    """The key of one row, from the columns at these places."""
    values = (rows.column(index)[number].as_py() for index in columns)
    return tuple((value is None, 0 if value is None else value) for value in values)


def parts(streams: Sequence[KeyOrderedRows], rows: int) -> Iterator[Key | None]:
    """The last key of each part: so many rows of the longest stream, and then all of its key; None of the last part.

    Whoever asks for the next part has taken the former from every stream.
    """
    last: Key | None = ()
    while last is not None:
        keys = [key for stream in streams if (key := stream.key_at(rows - 1)) is not None]
        last = min(keys, default=None)
        yield last
