"""A column of messages, of which only what differs is kept."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.online.columns import booleans, by_length, constant, integers, join
from jobs.online.encoding import varint
from jobs.online.hashing import Hashes, hashes

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EncodedColumn:
    """n messages; a NULL is no bytes at all."""

    contents: pa.Array
    """What each ends with; nothing for a NULL."""
    tag: bytes = b""
    """What each begins with."""
    is_delimited: bool = False
    """Whether the number of bytes of the contents, as a varint, stands between."""
    is_valid: Flags | None = None
    """Where there is a message; None for everywhere."""
    defaulted: int = 0
    """How many elements of lists are NULL in the source and a default value here."""

    def head(self, length: int) -> bytes:
        """What stands before so many bytes of contents."""
        return self.tag + varint(length) if self.is_delimited else self.tag

    def values(self) -> pa.Array:
        """The messages as they are."""
        whole = join(by_length(self.contents, self.head), self.contents)
        return whole if self.is_valid is None else pc.if_else(booleans(self.is_valid), whole, constant(b""))

    def hashes(self, place: int) -> Hashes:
        """A hash of each, another one for another `place`; 0 for a NULL."""
        found = hashes(self.contents, place)
        return found if self.is_valid is None else np.where(self.is_valid, found, np.uint64(0))

    def take(self, rows: npt.NDArray[np.int64]) -> "EncodedColumn":
        """Some of them."""
        is_valid = None if self.is_valid is None else self.is_valid[rows]
        return replace(self, contents=self.contents.take(integers(rows)), is_valid=is_valid)
