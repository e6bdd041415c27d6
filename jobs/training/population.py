"""Which rows a training set has, judged part by part: who was there at each instant, and with which label."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.instant_numbers import TIMESTAMP, instant_number, instant_numbers, microseconds
from jobs.row_numbers import NOT_FOUND, Numbers, RowNumbers
from jobs.training.rows import EVENT_TIMESTAMP, RULES, Counts, Labels
from jobs.training.window import LabelledInstant

_ABSENT, _KNOWN_TOO_LATE, _WITHDRAWN, _THERE = -1, 0, 1, 2
_KEPT = len(RULES)


class Population:
    """Judges all keys at all instants, and counts."""

    def __init__(self, labels: Labels, instants: Sequence[LabelledInstant], grace: timedelta) -> None:
        self._labels, self._instants = labels, instants
        self._grace = microseconds(grace)
        self._at = np.array([instant_number(one.event_timestamp) for one in instants], np.int64)
        self._targets = np.array([instant_number(one.target) for one in instants], np.int64)
        self._tolerance = microseconds(instants[0].tolerance)
        self._counted = np.zeros((len(instants), _KEPT + 1), np.int64)

    def judge(self, views: Sequence[pa.Table], labels: pa.Table) -> pa.Table:
        """Key, instant and label of each row that no rule removes, by key and instant.

        `views` and `labels` hold all rows of some keys, as `SourceTable` reads them; no key comes twice.
        """
        names = list(self._labels.key)
        keys = pa.concat_tables([table.select(names) for table in (*views, labels)])
        numbers = RowNumbers(keys.columns, keys.num_rows, nulls_equal=False).numbers
        _, first = np.unique(numbers, return_index=True)
        different = keys.take(pa.array(first))
        offsets = np.cumsum([0, *(table.num_rows for table in views)])
        state = np.full(len(first) * len(self._at), _ABSENT, np.int64)
        for table, offset in zip(views, offsets, strict=False):
            self._see(state, table, numbers[offset : offset + table.num_rows])
        label = self._labelled(len(state), labels, numbers[offsets[-1] :])
        return self._rows(different, state, labels[self._labels.label].take(pa.array(label, mask=label < 0)), label)

    def counts(self) -> list[Counts]:
        """Of what was judged so far, one entry for each event timestamp."""
        return [
            Counts(
                one.event_timestamp,
                int(counted.sum()),
                {rule: int(counted[number]) for number, rule in enumerate(RULES)},
                int(counted[_KEPT]),
            )
            for one, counted in zip(self._instants, self._counted, strict=True)
        ]

    def _see(self, state: Numbers, table: pa.Table, numbers: Numbers) -> None:
        """Note for each key and instant whether the view has a row of it, and which one counts."""
        at = instant_numbers(table["__at"])
        place = np.minimum(np.searchsorted(self._at, at), len(self._at) - 1)
        here = np.flatnonzero(self._at[place] == at)
        pair = numbers[here] * len(self._at) + place[here]
        # A view that does not say when a row was known says that it was in time.
        created_at = instant_numbers(table["__created_at"])[here]
        known = created_at <= at[here] + self._grace
        gone = table["__tombstone"].to_numpy()[here]
        last = _last_of_each(pair, (gone, created_at, known))
        seen = np.where(~known, _KNOWN_TOO_LATE, np.where(gone, _WITHDRAWN, _THERE))[last]
        state[pair[last]] = np.maximum(state[pair[last]], seen)

    def _labelled(self, pairs: int, table: pa.Table, numbers: Numbers) -> Numbers:
        """For each key and instant the row of its label: the one learned last, of those learned at once the closest."""
        found = np.full(pairs, NOT_FOUND, np.int64)
        at, created_at = instant_numbers(table["__at"]), instant_numbers(table["__created_at"])
        place = np.minimum(np.searchsorted(self._targets + self._tolerance, at), len(self._targets) - 1)
        distance = np.abs(at - self._targets[place])
        newest = _last_of_each_pair(numbers, at, created_at)
        counts = newest & ~table["__tombstone"].to_numpy() & (distance <= self._tolerance)
        here = np.flatnonzero(counts)
        pair = numbers[here] * len(self._at) + place[here]
        last = _last_of_each(pair, (at[here], -distance[here], created_at[here]))
        found[pair[last]] = here[last]
        return found

    def _rows(self, keys: pa.Table, state: Numbers, labels: pa.ChunkedArray, label: Numbers) -> pa.Table:
        removed_by = (
            state == _KNOWN_TOO_LATE, state == _WITHDRAWN, label == NOT_FOUND,
            pc.is_null(labels, nan_is_null=False).to_numpy(),
        )  # fmt: skip
        rule = np.select(removed_by, range(_KEPT), _KEPT)
        candidates = np.flatnonzero(state != _ABSENT)
        place = candidates % len(self._at)
        np.add.at(self._counted, (place, rule[candidates]), 1)
        kept = candidates[rule[candidates] == _KEPT]
        order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        key = kept // len(self._at)
        kept = kept[np.argsort(rank[key] * len(self._at) + kept % len(self._at))]
        rows = keys.take(pa.array(kept // len(self._at)))
        at = pa.array(self._at[kept % len(self._at)]).cast(TIMESTAMP)
        return rows.append_column(EVENT_TIMESTAMP, at).append_column(self._labels.label, labels.take(pa.array(kept)))


def _last_of_each(group: Numbers, order: Sequence[npt.NDArray[np.generic]]) -> Numbers:
    """The place of each group's last member, by `order`, whose last entry counts first."""
    by_group = np.lexsort((*order, group))
    last: Numbers = by_group[np.append(np.diff(group[by_group]) != 0, True)] if len(group) else by_group
    return last


def _last_of_each_pair(numbers: Numbers, at: Numbers, created_at: Numbers) -> npt.NDArray[np.bool_]:
    """Whether a row is the one of its key and instant that was known last."""
    order = np.lexsort((created_at, at, numbers))
    last = np.ones(len(order), np.bool_)
    last[:-1] = (np.diff(numbers[order]) != 0) | (np.diff(at[order]) != 0)
    flags = np.zeros(len(order), np.bool_)
    flags[order[last]] = True
    return flags
