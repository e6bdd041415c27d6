"""Entities drawn by chance while they are read, each as likely as any other, in whatever partitions they come."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.online.columns import integers

SAMPLE = 1000
"""So many entities of a group are drawn, or all if there are fewer."""
Key = tuple[Any, ...]


@dataclass
class KeySample:
    """Join keys of the drawn entities: those with the least of random ranks, so that samples of parts make one."""

    ranks: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    keys: list[Key] = field(default_factory=list)

    def see(self, columns: list[pa.Array]) -> None:
        """Draw among more entities, whose join keys are these columns."""
        ranks = np.random.default_rng().random(len(columns[0]))
        most = self.ranks.max() if len(self.keys) == SAMPLE else 1.0
        chosen = _least(np.flatnonzero(ranks < most), ranks)
        values = [column.take(integers(chosen)).to_pylist() for column in columns]
        self._add(ranks[chosen], list(zip(*values, strict=True)))

    def __iadd__(self, other: "KeySample") -> "KeySample":
        self._add(other.ranks, other.keys)
        return self

    def _add(self, ranks: npt.NDArray[np.float64], keys: list[Key]) -> None:
        self.ranks, all_keys = np.concatenate([self.ranks, ranks]), self.keys + keys
        kept = _least(np.arange(len(all_keys)), self.ranks)
        self.ranks, self.keys = self.ranks[kept], [all_keys[place] for place in kept]


def _least(places: npt.NDArray[np.intp], ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    if len(places) <= SAMPLE:
        return places
    return places[np.argpartition(ranks[places], SAMPLE)[:SAMPLE]]
