"""Which rows a training set has: who was there at each instant, and with which label; counted by rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import psycopg
from psycopg import sql

from jobs.errors import DataError, JobError, UsageError
from jobs.exports.contract import Contract, Kind, load_contracts
from jobs.instants import earlier, isoformat
from jobs.training.views import TrainingView
from jobs.training.window import LabelledInstant

EVENT_TIMESTAMP = "event_timestamp"
RULES = {
    "known_too_late": "its rows became known only after event_timestamp + grace",
    "withdrawn": "a correction known by event_timestamp + grace took its rows back",
    "no_label": "no label lies in its window",
    "null_label": "its label is NULL",
}
"""The rules that remove rows, in the order in which they are asked, and why."""


@dataclass(frozen=True)
class Counts:
    """Of one event timestamp: the keys that any view has a row of, those that each rule removed, and what is left."""

    event_timestamp: datetime
    candidates: int
    removed: dict[str, int]
    rows: int


@dataclass(frozen=True)
class Labels:
    """The table of labels, and its key, which is also the key of a training set's rows."""

    contract: Contract

    @property
    def key(self) -> tuple[str, ...]:
        """The key's columns, in the table and in the set."""
        return self.contract.key

    @property
    def label(self) -> str:
        """The label's column, in the table and in the set."""
        return cast(str, self.contract.label)


def find_labels(repo: Path) -> Labels:
    """The labels of the Feast repository. Raises UsageError unless exactly one contract is of kind labels."""
    found = [contract for contract in load_contracts(repo) if contract.kind is Kind.LABELS]
    if len(found) != 1:
        raise UsageError(
            f"{repo}/contracts holds {len(found)} contracts of kind labels; a training set needs exactly one"
        )
    return Labels(found[0])


def check_keys(labels: Labels, views: Sequence[TrainingView]) -> None:
    """Raises UsageError when a view is keyed by what the labels do not have, or none is keyed as they are."""
    for view in views:
        for column, _ in view.keys:
            if column not in labels.key:
                raise UsageError(
                    f"feature view {view.name} is keyed by {column}, which {labels.contract.table} does not have"
                )
    if not any(has_key_of(view, labels) for view in views):
        raise UsageError(f"no feature view of the service is keyed by {', '.join(labels.key)}, as the labels are")


def check_some_left(counts: Sequence[Counts], views: Sequence[TrainingView]) -> None:
    """Raises DataError, which names the rules that removed rows, when no row is left."""
    if any(count.rows for count in counts):
        return
    window = f"{isoformat(counts[0].event_timestamp)} to {isoformat(counts[-1].event_timestamp)}"
    candidates = sum(count.candidates for count in counts)
    if not candidates:
        names = ", ".join(view.name for view in views)
        raise DataError(f"no row: rule no_snapshot removed all; none of {names} has a row of a month-end from {window}")
    removed = {rule: sum(count.removed[rule] for count in counts) for rule in RULES}
    reasons = "; ".join(f"rule {rule} removed {number} ({RULES[rule]})" for rule, number in removed.items() if number)
    raise DataError(f"no row is left of {candidates} at the month-ends from {window}: {reasons}")


def window_of(connection: psycopg.Connection, views: Sequence[TrainingView]) -> tuple[datetime, datetime]:
    """The oldest and the newest as_of in the views. Raises JobError when there is none yet."""
    extremes = [
        connection.execute(
            sql.SQL("SELECT min({as_of}), max({as_of}) FROM {table} WHERE {placed}")
            .format(
                as_of=view.view.snapshots.as_of,
                table=view.view.snapshots.table,
                placed=view.view.snapshots.is_placed,
            )
            .as_string(None)
        ).fetchone()
        or (None, None)
        for view in views
    ]
    oldest = [low for low, _ in extremes if low is not None]
    newest = [high for _, high in extremes if high is not None]
    if not oldest:
        raise JobError("the offline store holds no snapshot yet; ingest one first")
    return min(oldest), max(newest)


def left_out_rows(connection: psycopg.Connection, view: TrainingView, instants: Sequence[LabelledInstant]) -> int:
    """How many rows within reach of these instants have no key or no time, and therefore count for none."""
    source = view.view.snapshots
    first, last = instants[0].event_timestamp, instants[-1].event_timestamp
    oldest = None if view.view.ttl is None else earlier(first, view.view.ttl)
    reach = source.window(sql.Literal(last), None if oldest is None else sql.Literal(oldest))
    query = sql.SQL("SELECT count(*) FROM {table} WHERE {seen} AND ({placed}) IS NOT TRUE").format(
        table=source.table, seen=source.in_sight(reach), placed=source.is_placed
    )
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def has_key_of(view: TrainingView, labels: Labels) -> bool:
    """Whether the view's rows say who was there: it is keyed as the labels are."""
    return {column for column, _ in view.keys} == set(labels.key)
