"""64-bit hashes of whole columns of bytes, made by numpy: no Python object for each value."""

from typing import Any

import mmh3
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.online.columns import content, ends_of, numbers_at

Hashes = npt.NDArray[np.uint64]
WORD_BYTES = 8
LONGEST_BYTES = 64
"""Of a value that is longer the MurmurHash3 is hashed instead."""
_SALTS_OF_A_PLACE = 1 + LONGEST_BYTES // WORD_BYTES
# For each number of bytes that are left of a value, which bits of its next word these are.
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(WORD_BYTES + 1)], np.uint64)


def hashes(values: pa.Array, place: int = 0) -> Hashes:
    """A hash of each value of a binary array without NULLs; another one for another `place`, as of a field in a row.

    The sum of its words (8 bytes, little-endian) and of its length plus 1, each scrambled with an odd number of its
    own: it depends on nothing but the value, and two values that differ in one word never have the same.
    """
    ends = ends_of(values)
    starts, lengths = ends[:-1] - ends[0], np.diff(ends)
    data, salts = content(values), _salts(place)
    found = np.zeros(len(values), np.uint64)
    for row in np.flatnonzero(lengths > LONGEST_BYTES):
        digest = mmh3.mmh3_x64_128_digest(data[starts[row] : starts[row] + lengths[row]])
        found[row] = _scrambled(np.frombuffer(digest, "<u8")[:1], salts[1])[0]
    first: Any = starts
    if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
        first = slice(0, len(data), lengths[0])
        lengths = lengths[:1]  # numpy repeats it as often as it must
    found += _scrambled((lengths + 1).view(np.uint64), salts[0])
    lengths = np.where(lengths > LONGEST_BYTES, 0, lengths)
    words = numbers_at(data, "<u8", LONGEST_BYTES)  # looked for also where a value has ended
    for number in range(-(-int(lengths.max(initial=0)) // WORD_BYTES)):
        done = number * WORD_BYTES
        mask = _MASKS[np.clip(lengths - done, 0, WORD_BYTES)]
        found += _scrambled(words[done:][first] & mask, salts[1 + number])
    return found


def mixed(words: Hashes) -> Hashes:
    """The words, changed in their place so that each bit depends on each.

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    """
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _scrambled(words: Hashes, salt: np.uint64) -> Hashes:
    """Another word for each; 0 for 0, which is what a value has where it has ended."""
    words = words ^ (words >> np.uint64(32))
    words *= salt
    words ^= words >> np.uint64(29)
    return words


def _salts(place: int) -> Hashes:
    numbers = np.arange(1, _SALTS_OF_A_PLACE + 1, dtype=np.uint64) + np.uint64(place * _SALTS_OF_A_PLACE)
    return mixed(numbers * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
