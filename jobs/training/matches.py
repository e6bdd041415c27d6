"""Rows of a set looked up again among the rows of a source, by key and values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.instant_numbers import instant_numbers
from jobs.row_numbers import NOT_FOUND, Numbers, RowNumbers
from jobs.training.source_rows import SourceTable

PAIRS_AT_ONCE = 1 << 20
Flags = npt.NDArray[np.bool_]
Distances = Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Measured:
    """Pairs of a shown row and a source row that equals it."""

    distances: Distances
    """Two for each pair, in microseconds."""
    allowed: Flags
    """Whether the row may show the source row."""
    closeness: Distances
    """By which the best pair is chosen, the last entry first; the greatest is the best."""


Measure = Callable[[Numbers, Numbers, Numbers], Measured]
"""From the instants `__at` and `__created_at` of the source rows, and the instants of the rows that show them."""


@dataclass(frozen=True)
class Best:
    """The best match of each of some shown rows."""

    of_row: Numbers
    """The place, in what follows, of each shown row: equal ones share theirs."""
    instants: Numbers
    found: Flags
    allowed: Flags
    distances: Distances
    """Of the best match; meaningless where none was found."""


def best_matches(table: SourceTable, shown: pa.Table, instants: Numbers, source: pa.Table, measure: Measure) -> Best:
    """Look each different row of `shown` up among those of `source` that were not taken back, first an allowed one.

    Equal are key and all values, NULL being NULL and NaN being NaN.
    """
    names = [*table.keys, *(name for name in table.values if name in shown.column_names)]
    numbers = RowNumbers(shown.select(names).columns, shown.num_rows, nulls_equal=True)
    order = np.lexsort((instants, numbers.numbers))
    new = np.append(True, (np.diff(numbers.numbers[order]) != 0) | (np.diff(instants[order]) != 0))[: len(order)]
    first = order[new]
    of_row = np.empty(len(order), np.int64)
    of_row[order] = np.cumsum(new) - 1
    standing = source.filter(pa.array(~source["__tombstone"].to_numpy()))
    of_source = numbers.find(standing.select(names).columns, standing.num_rows)
    order = np.argsort(of_source, kind="stable")
    order = order[np.searchsorted(of_source[order], NOT_FOUND, "right") :]
    at, created_at = (instant_numbers(standing[name])[order] for name in ("__at", "__created_at"))
    wanted = numbers.numbers[first]
    low, high = (np.searchsorted(of_source[order], wanted, side) for side in ("left", "right"))
    best = Best(
        of_row, instants[first], high > low,
        np.zeros(len(first), np.bool_), [np.zeros(len(first), np.int64) for _ in range(2)],
    )  # fmt: skip

    def of_pairs(pairs: Numbers, asked: Numbers) -> Measured:
        return measure(at[pairs], created_at[pairs], best.instants[asked])

    for begin, end in _blocks(high - low):
        _choose(best, begin, end, low, high, of_pairs)
    return best


def _choose(
    best: Best, begin: int, end: int, low: Numbers, high: Numbers, measure: Callable[[Numbers, Numbers], Measured]
) -> None:
    """Put into `best` what is best of the pairs of the rows from `begin` to `end`."""
    counts = (high - low)[begin:end]
    asked = np.repeat(np.arange(begin, end), counts)
    starts = np.cumsum(counts) - counts
    pairs = np.arange(len(asked)) - np.repeat(starts - low[begin:end], counts)
    measured = measure(pairs, asked)
    order = np.lexsort((*measured.closeness, measured.allowed, asked))
    last = order[np.append(np.diff(asked[order]) != 0, True)] if len(order) else order
    best.allowed[asked[last]] = measured.allowed[last]
    for chosen, distance in zip(best.distances, measured.distances, strict=True):
        chosen[asked[last]] = distance[last]


def _blocks(counts: Numbers) -> list[tuple[int, int]]:
    """From and to which row there are about PAIRS_AT_ONCE pairs, so that no source makes them too many at once."""
    cuts = np.searchsorted(np.cumsum(counts), np.arange(PAIRS_AT_ONCE, int(counts.sum()), PAIRS_AT_ONCE))
    edges = np.unique(np.concatenate([[0], cuts, [len(counts)]]))
    return [(int(begin), int(end)) for begin, end in pairwise(edges)]
