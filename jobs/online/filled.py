"""What a partition of a materialization did."""

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jobs.online.hashing import Hashes
from jobs.online.key_sample import KeySample
from jobs.online.source_digest import SourceSum

Counts = npt.NDArray[np.int64]


@dataclass
class Filled:
    """What was done so far; the arrays hold a number for each view of the group."""

    rows: Counts
    written: Counts
    removed: Counts
    digests: Hashes
    """The sums, modulo 2**64, of the hashes of the rows; in whatever order and partitions they were read."""
    defaulted: Counts
    """Elements of lists that are NULL in Postgres and a default value in Redis."""
    sources: list[SourceSum]
    """What Postgres says of the rows that it read."""
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    """The hashes of the entities' Redis keys, 8 bytes each; an array that grows in place."""
    drawn: KeySample = field(default_factory=KeySample)
    """Some of the entities."""
    verifying_seconds: float = 0.0

    @staticmethod
    def nothing(views: int) -> "Filled":
        """Where the counting starts."""
        zero = np.zeros(views, np.int64)
        return Filled(zero, zero.copy(), zero.copy(), np.zeros(views, np.uint64), zero.copy(), [SourceSum()] * views)

    def __iadd__(self, other: "Filled") -> "Filled":
        self.rows += other.rows
        self.written += other.written
        self.removed += other.removed
        self.digests += other.digests
        self.defaulted += other.defaulted
        self.sources = [ours + theirs for ours, theirs in zip(self.sources, other.sources, strict=True)]
        self.keys += other.keys
        self.drawn += other.drawn
        self.verifying_seconds += other.verifying_seconds
        return self
