"""Arrow columns of bytes and numpy's arrays, one made of the other without a Python object for each value.

Not by `pa.array`, `pa.scalar` and `to_numpy`, which import pandas to see whether it is at play: 0.3 s and 40 MB.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_NUMPY = {
    pa.uint8(): np.uint8, pa.int32(): np.int32, pa.int64(): np.int64, pa.float32(): np.float32,
    pa.float64(): np.float64,
}  # fmt: skip


LENGTHS = 1 << 16
"""So many different lengths are looked up in a table, which is quicker than to sort them."""


def join(*parts: pa.Array | pa.Scalar) -> pa.Array:
    """Row by row, one part behind the other; a scalar is the same in each row."""
    return pc.binary_join_element_wise(*parts, constant(b""))


def by_length(values: pa.Array, render: Callable[[int], bytes]) -> pa.Array | pa.Scalar:
    """What `render` makes of each value's length in bytes; a scalar where all have the same.

    It is called once for each length that there is.
    """
    lengths = np.diff(ends_of(values))
    if not len(lengths) or (lengths == lengths[0]).all():
        return constant(render(int(lengths[0]) if len(lengths) else 0))
    shortest = lengths.min()
    if lengths.max() - shortest < LENGTHS:
        distinct = np.flatnonzero(np.bincount(lengths - shortest)) + shortest
        numbers_of = np.zeros(distinct[-1] - shortest + 1, np.int64)
        numbers_of[distinct - shortest] = np.arange(len(distinct))
        places = numbers_of[lengths - shortest]
    else:
        distinct, places = np.unique(lengths, return_inverse=True)
    return binaries([render(int(length)) for length in distinct]).take(integers(places))


def content(column: pa.Array) -> memoryview:
    """The bytes of all values, one behind the other."""
    ends, data = ends_of(column), column.buffers()[2]
    return memoryview(b"" if data is None else data).cast("B")[ends[0] : ends[-1]]


def ends_of(column: pa.Array) -> npt.NDArray[np.int64]:
    """Where in its buffer a binary array's first value begins, then where each ends."""
    if not len(column):
        return np.zeros(1, np.int64)
    ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return ends.astype(np.int64)


def numbers_at(data: memoryview, kind: str, behind: int) -> npt.NDArray[Any]:
    """The unsigned numbers, of numpy's type `kind`, that begin at each byte of `data`, then of `behind` zeros."""
    width = np.dtype(kind).itemsize
    padded = b"".join((data, bytes(behind + width - 1)))
    return np.ndarray(len(data) + behind, kind, padded, strides=(1,))


@lru_cache(1000)
def constant(value: bytes) -> pa.Scalar:
    """The value as a scalar."""
    return binaries([value])[0]


def binaries(values: Sequence[bytes]) -> pa.Array:
    """The values as a binary array."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return binary(offsets, pa.py_buffer(b"".join(values)))


def binary(offsets: npt.NDArray[np.int32], data: pa.Buffer) -> pa.Array:
    """The values that lie one behind the other in `data`, each from its offset to the next one's."""
    offsets = np.ascontiguousarray(offsets)
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), data])


def integers(values: npt.NDArray[np.int64]) -> pa.Array:
    """The values as an int64 array."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def booleans(values: npt.NDArray[np.bool_]) -> pa.Array:
    """The values as a boolean array."""
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def flags(values: pa.Array) -> npt.NDArray[np.bool_]:
    """A boolean array without NULLs as numpy's."""
    return numbers(values.cast(pa.uint8()), "u1").view(np.bool_)


def numbers(values: pa.Array, kind: str) -> npt.NDArray[Any]:
    """The values as numpy's, of numpy's type `kind`; 0 for a NULL."""
    filled = without_nulls(values, integers(np.zeros(1, np.int64)).cast(values.type)[0])
    if not len(filled):
        return np.zeros(0, kind)
    whole = np.frombuffer(filled.buffers()[1], _NUMPY[filled.type])
    return np.ascontiguousarray(whole[filled.offset : filled.offset + len(filled)], dtype=kind)


def without_nulls(values: pa.Array, null: pa.Scalar) -> pa.Array:
    """The values, `null` in the place of each NULL."""
    return pc.if_else(values.is_valid(), values, null) if values.null_count else values
