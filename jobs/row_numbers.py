"""Rows as numbers: equal rows have the same one, so that rows of another table are found by them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
NOT_FOUND = -1


class RowNumbers:
    """Numbers the different rows of some columns from 0. Values are equal as Postgres has it: NaN is NaN, -0 is 0."""

    def __init__(self, columns: Sequence[pa.ChunkedArray], rows: int, *, nulls_equal: bool) -> None:
        """`rows`: how long each column is. With `nulls_equal` a NULL is a value like others, else it equals nothing."""
        self._nulls_equal = nulls_equal
        self._values: list[pa.Array] = []
        self._pairs: list[pa.Array] = []
        self.numbers: Numbers = np.zeros(rows, np.int64)
        """The number of each row; NOT_FOUND of one that equals nothing."""
        for column in map(_plain, columns):
            places, values = _encoded(column, "encode" if nulls_equal else "mask")
            self._values.append(values)
            if len(self._values) == 1:
                self.numbers = places
                continue
            self.numbers, pairs = _encoded(pa.chunked_array([_paired(self.numbers, places, len(values))]), "mask")
            self._pairs.append(pairs)

    def find(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Numbers:
        """The number of each of other `rows`, which have columns of the same types; NOT_FOUND where none is equal."""
        numbers: Numbers = np.zeros(rows, np.int64)
        for index, column in enumerate(map(_plain, columns)):
            places = self._places(column, self._values[index])
            if index == 0:
                numbers = places
                continue
            pairs = _paired(numbers, places, len(self._values[index]))
            numbers = _numbers(pc.index_in(pairs, value_set=self._pairs[index - 1], skip_nulls=True))
        return numbers

    def _places(self, column: pa.ChunkedArray, values: pa.Array) -> Numbers:
        return _numbers(pc.index_in(column, value_set=values, skip_nulls=not self._nulls_equal))


def _encoded(column: pa.ChunkedArray, nulls: str) -> tuple[Numbers, pa.Array]:
    """The number of each row, and the values that are numbered."""
    encoded = pc.dictionary_encode(column, null_encoding=nulls)
    if not encoded.num_chunks:
        return np.zeros(0, np.int64), pc.unique(column)
    numbers = [_numbers(chunk.indices) for chunk in encoded.chunks]
    return np.concatenate(numbers), encoded.chunk(0).dictionary


def _paired(numbers: Numbers, places: Numbers, count: int) -> pa.Array:
    """Two numbers as one; NULL where either is none."""
    return pa.array(numbers * count + places, mask=(numbers == NOT_FOUND) | (places == NOT_FOUND))


def _numbers(found: pa.Array | pa.ChunkedArray) -> Numbers:
    numbers: Numbers = np.asarray(pc.fill_null(found, NOT_FOUND)).astype(np.int64)
    return numbers


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """-0.0 and 0.0 are one number, and have two encodings."""
    return pc.add(column, pa.scalar(0, column.type)) if pa.types.is_floating(column.type) else column
