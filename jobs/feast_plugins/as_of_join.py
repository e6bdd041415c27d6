"""The point-in-time join in memory; the rule is that of `point_in_time`, whose SQL it replaces where rows are many."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.instant_numbers import microseconds
from jobs.row_numbers import NOT_FOUND, Numbers

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """How old a row may be and how late it may have become known, in microseconds; None: any age."""

    ttl: int | None
    grace: int

    @staticmethod
    def of(ttl: timedelta | None, grace: timedelta) -> "Limits":
        """The limits of these durations."""
        return Limits(None if ttl is None else microseconds(ttl), microseconds(grace))


class History:
    """A view's rows, by key number, as_of and created_at."""

    def __init__(self, key: Numbers, as_of: Numbers, created_at: Numbers | None, withdrawn: Flags | None) -> None:
        """Instants are microseconds since 1970. Rows whose key is NOT_FOUND are left out."""
        of_interest = np.flatnonzero(key != NOT_FOUND)
        key, as_of = key[of_interest], as_of[of_interest]
        self._as_ofs = np.sort(pc.unique(pa.array(as_of)).to_numpy())
        place = self._place(key, np.searchsorted(self._as_ofs, as_of, "right"))
        order = np.argsort(place)
        if created_at is not None:
            _order_within(order, place, created_at[of_interest])
        self._rows = of_interest[order]
        self._place_of, self._key, self._as_of = place[order], key[order], as_of[order]
        self._created_at = None if created_at is None else created_at[self._rows]
        self._withdrawn = None if withdrawn is None else withdrawn[self._rows]

    def tied(self) -> Numbers:
        """The numbers of rows that others equal in key and both times, the first of each of these not among them."""
        same = np.diff(self._place_of) == 0
        if self._created_at is not None:
            same &= np.diff(self._created_at) == 0
        tied: Numbers = self._rows[1:][same]
        return tied

    def latest(self, key: Numbers, t: Numbers, limits: Limits) -> Numbers:
        """The number of the row that counts for each (key, t); NOT_FOUND where there is none."""
        found = np.full(len(key), NOT_FOUND, np.int64)
        last = np.searchsorted(self._place_of, self._place(key, np.searchsorted(self._as_ofs, t, "right")), "right") - 1
        asked = np.arange(len(key))
        while len(asked):
            here = (last >= 0) & (key[asked] != NOT_FOUND)
            here &= self._key[last] == key[asked] if len(self._key) else False
            if limits.ttl is not None and len(self._key):
                here &= self._as_of[last] >= t[asked] - limits.ttl
            asked, last = asked[here], last[here]
            counts, last = self._judge(last, t[asked], limits)
            found[asked[counts]] = self._rows[last[counts]]
            asked, last = asked[~counts], last[~counts]
        return found

    def _judge(self, row: Numbers, t: Numbers, limits: Limits) -> tuple[Flags, Numbers]:
        """Which rows count; and those rows, or the ones to look at instead."""
        known = np.ones(len(row), np.bool_)
        if self._created_at is not None:
            known = self._created_at[row] <= t + limits.grace
        stands = known if self._withdrawn is None else known & ~self._withdrawn[row]
        # One that was not known hides nothing; a tombstone hides all of its as_of.
        hides = known & ~stands
        instead = np.where(stands, row, row - 1)
        instead[hides] = np.searchsorted(self._place_of, self._place_of[row[hides]]) - 1
        return stands, instead

    def _place(self, key: Numbers, as_of: Numbers) -> Numbers:
        place: Numbers = key * (len(self._as_ofs) + 1) + as_of
        return place


def _order_within(order: Numbers, place: Numbers, created_at: Numbers) -> None:
    """Put rows of equal place, which are few, in the order of created_at."""
    same = np.diff(place[order]) == 0
    several = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[several]
    order[several] = rows[np.lexsort((created_at[rows], place[rows]))]
