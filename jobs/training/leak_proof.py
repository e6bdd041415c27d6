"""Proof that a training set shows nothing that could not be known, found by looking its values up again.

The join is not asked. For each row and view a snapshot with the same key and the same values is looked for, first one
that the row may show, then any other; the greatest distances of what was found are the proof. A value of which the
offline store knows nothing, or only too late, disproves it. Labels are looked up the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.errors import JobError
from jobs.instant_numbers import instant_number, instant_numbers, microseconds
from jobs.row_numbers import Numbers
from jobs.training.matches import Best, Flags, Measure, Measured, best_matches
from jobs.training.rows import EVENT_TIMESTAMP, Labels
from jobs.training.source_rows import SourceTable, label_table, view_table
from jobs.training.views import TrainingView
from jobs.training.window import LabelledInstant

_UNKNOWN = np.iinfo(np.int64).min
_FAR = 1 << 62


@dataclass(frozen=True)
class ViewProof:
    """What was found of one view, in seconds; None where no row shows anything of it."""

    rows: int
    """Rows that show something of the view."""
    max_as_of_minus_event_timestamp: float | None
    max_created_at_minus_latest_allowed: float | None


@dataclass(frozen=True)
class LabelProof:
    """Where the labels lie, in seconds from event_timestamp + horizon."""

    rows: int
    min_label_at_minus_target: float | None
    max_label_at_minus_target: float | None
    tolerance: float


class ViewProver:
    """Proves one view, part by part."""

    def __init__(self, view: TrainingView, labels: Labels, grace: timedelta, snapshot: ArrowSnapshot) -> None:
        self.table = view_table(view, labels)
        self._grace = microseconds(grace)
        self._found = _Found(self.table, self._measure, snapshot)

    def add(self, joined: pa.Table, source: pa.Table) -> None:
        """`source` holds the view's rows in reach of the keys of `joined`.

        Raises JobError naming the view when a row shows what it must not, or what the offline store does not hold.
        """
        something = np.zeros(joined.num_rows, np.bool_)
        for name in self.table.values:
            if name in joined.column_names:
                something |= joined[name].is_valid().to_numpy()
        shows = joined.filter(pa.array(something))
        unknown = self._found.add(shows, instant_numbers(shows[EVENT_TIMESTAMP]), source)
        if unknown:
            raise JobError(f"no proof: {unknown} rows show values of {self.table.name} that its source holds nowhere")
        proof = self.proof
        _refuse_above(proof.max_as_of_minus_event_timestamp, f"a value of {self.table.name} is newer than its row")
        _refuse_above(
            proof.max_created_at_minus_latest_allowed, f"a value of {self.table.name} became known too late for its row"
        )

    @property
    def proof(self) -> ViewProof:
        """Of all parts so far."""
        return ViewProof(self._found.rows, *self._found.highest)

    def _measure(self, at: Numbers, created_at: Numbers, t: Numbers) -> Measured:
        age = at - t
        # NULL, the least number, is not late; Postgres' infinities are too far away to be subtracted from.
        since = np.clip(created_at, -_FAR, _FAR)
        lateness = np.where(created_at == _UNKNOWN, _UNKNOWN, since - t - self._grace)
        return Measured((age, lateness), (age <= 0) & (lateness <= 0), (lateness, age))


class LabelProver:
    """Proves the labels, part by part."""

    def __init__(self, labels: Labels, instants: Sequence[LabelledInstant], snapshot: ArrowSnapshot) -> None:
        self.table = label_table(labels)
        self._at = np.array([instant_number(one.event_timestamp) for one in instants], np.int64)
        self._targets = np.array([instant_number(one.target) for one in instants], np.int64)
        self._tolerance = instants[0].tolerance
        self._found = _Found(self.table, self._measure, snapshot)

    def add(self, joined: pa.Table, source: pa.Table) -> None:
        """`source` holds the labels in reach of the keys of `joined`.

        Raises JobError when a label lies outside its window, or is not in the table of labels.
        """
        target = self._targets[np.searchsorted(self._at, instant_numbers(joined[EVENT_TIMESTAMP]))]
        unknown = self._found.add(joined, target, source)
        if unknown:
            raise JobError(f"no proof: {unknown} labels are nowhere in {self.table.name}")
        latest, earliest = self._found.highest
        seconds = self._tolerance.total_seconds()
        _refuse_above(_minus(latest, seconds), "a label lies after its window")
        _refuse_above(_minus(earliest, seconds), "a label lies before its window")

    @property
    def proof(self) -> LabelProof:
        """Of all parts so far."""
        latest, earliest = self._found.highest
        return LabelProof(self._found.rows, _minus(0.0, earliest), latest, self._tolerance.total_seconds())

    def _measure(self, at: Numbers, _created_at: Numbers, target: Numbers) -> Measured:
        after = at - target
        distance = np.abs(after)
        return Measured((after, -after), distance <= microseconds(self._tolerance), (-distance,))


class _Found:
    """What was found so far: rows, and two greatest distances in seconds."""

    def __init__(self, table: SourceTable, measure: Measure, snapshot: ArrowSnapshot) -> None:
        self._table, self._measure, self._snapshot = table, measure, snapshot
        self.rows = 0
        self.highest: list[float | None] = [None, None]

    def add(self, shown: pa.Table, instants: Numbers, source: pa.Table) -> int:
        """How many of the rows are nowhere in the offline store."""
        self.rows += shown.num_rows
        best = best_matches(self._table, shown, instants, source, self._measure)
        self._note(best, best.allowed)
        leaking = ~best.allowed[best.of_row]
        if not leaking.any():
            return 0
        # What no row in reach explains is looked for among all rows, which tell how it leaked.
        rest = shown.filter(pa.array(leaking))
        all_rows = self._snapshot.table(self._table.query(self._table.of_keys(rest), ordered=False))
        best = best_matches(self._table, rest, instants[leaking], all_rows, self._measure)
        self._note(best, best.found)
        return int((~best.found[best.of_row]).sum())

    def _note(self, best: Best, which: Flags) -> None:
        for index, distances in enumerate(best.distances):
            known = distances[which & (distances != _UNKNOWN)]
            if len(known):
                seconds = float(known.max()) / 1e6
                highest = self.highest[index]
                self.highest[index] = seconds if highest is None else max(highest, seconds)


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _refuse_above(seconds: float | None, complaint: str) -> None:
    if seconds is not None and seconds > 0:
        raise JobError(f"no proof: {complaint}, by {seconds:g} s")
