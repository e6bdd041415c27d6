"""Customer ids of the form 7590-VHVEG, kept as whole numbers while a population is computed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]

LENGTH = 10
LETTERS = 26**5
SPACE = 10**4 * LETTERS
# Prime and coprime with SPACE (2, 5, 13): serial -> serial * STEP mod SPACE meets no number twice.
STEP = 2_654_435_761
# serial * STEP has to fit 63 bits.
MOST = 10**9


def parse(texts: Array) -> Array:
    """Numbers of ids in text, in their order."""
    signs = texts.astype(f"S{LENGTH}").view(np.uint8).reshape(-1, LENGTH).astype(np.int64)
    number = np.zeros(len(texts), dtype=np.int64)
    for place in range(4):
        number = number * 10 + signs[:, place] - ord("0")
    for place in range(5, LENGTH):
        number = number * 26 + signs[:, place] - ord("A")
    return number


def render(numbers: Array) -> pa.Array:
    """Ids as an Arrow string column."""
    signs = np.empty((len(numbers), LENGTH), dtype=np.uint8)
    rest = numbers
    for place in range(LENGTH - 1, 4, -1):
        rest, letter = np.divmod(rest, 26)
        signs[:, place] = letter + ord("A")
    signs[:, 4] = ord("-")
    for place in range(3, -1, -1):
        rest, digit = np.divmod(rest, 10)
        signs[:, place] = digit + ord("0")
    ends = np.arange(0, (len(numbers) + 1) * LENGTH, LENGTH, dtype=np.int64)
    large = pa.Array.from_buffers(pa.large_string(), len(numbers), [None, pa.py_buffer(ends), pa.py_buffer(signs)])
    return large.cast(pa.string())


class IdSource:
    """New ids, none twice and none of those taken. The order follows the seed."""

    def __init__(self, seed: int, taken: Array) -> None:
        """`taken` are numbers that must not be given out."""
        self._offset = int(np.random.default_rng([seed, 1]).integers(SPACE))
        self._taken = taken
        self._serial = 0

    def take(self, count: int) -> Array:
        """The next `count` ids."""
        found = np.empty(0, dtype=np.int64)
        while len(found) < count:
            serials = np.arange(self._serial, self._serial + count - len(found), dtype=np.int64)
            self._serial += len(serials)
            numbers = (serials * STEP + self._offset) % SPACE
            found = np.concatenate([found, numbers[~np.isin(numbers, self._taken)]])
        return found
