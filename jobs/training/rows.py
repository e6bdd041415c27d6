"""Which rows a training set has: who was there at each instant, and with which label; counted by rule."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import psycopg
from psycopg import sql

from jobs.errors import DataError, JobError, UsageError
from jobs.exports.contract import Contract, Kind, load_contracts
from jobs.instants import isoformat
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
    if not any(_has_key_of(view, labels) for view in views):
        raise UsageError(f"no feature view of the service is keyed by {', '.join(labels.key)}, as the labels are")


class TrainingRows:
    """The rows of a training set as SQL."""

    def __init__(
        self, labels: Labels, views: Sequence[TrainingView], instants: Sequence[LabelledInstant], grace: timedelta
    ) -> None:
        self._labels = labels
        self._views = [view for view in views if _has_key_of(view, labels)]
        self._instants = instants
        self._grace = grace
        self._key = [sql.Identifier(column) for column in labels.key]

    def entity_query(self) -> str:
        """Key columns, `event_timestamp` and the label of every row that no rule removed."""
        return (
            sql.SQL("{judged} SELECT {key}, t AS {event_timestamp}, label AS {label} FROM judged WHERE rule IS NULL")
            .format(
                judged=self._judged(),
                key=_list(self._key),
                event_timestamp=sql.Identifier(EVENT_TIMESTAMP),
                label=sql.Identifier(self._labels.label),
            )
            .as_string(None)
        )

    def count(self, connection: psycopg.Connection) -> list[Counts]:
        """One entry for each event timestamp. Raises DataError, which names the rules, when no row is left."""
        query = sql.SQL("{} SELECT t, rule, count(*) FROM judged GROUP BY t, rule").format(self._judged())
        found: dict[datetime, dict[str | None, int]] = {one.event_timestamp: {} for one in self._instants}
        for instant, rule, number in connection.execute(query.as_string(None)):
            found[instant][rule] = number
        counts = [
            Counts(instant, sum(by_rule.values()), {rule: by_rule.get(rule, 0) for rule in RULES}, by_rule.get(None, 0))
            for instant, by_rule in found.items()
        ]
        self._check_some_left(counts)
        return counts

    def _check_some_left(self, counts: Sequence[Counts]) -> None:
        if any(count.rows for count in counts):
            return
        window = f"{isoformat(counts[0].event_timestamp)} to {isoformat(counts[-1].event_timestamp)}"
        candidates = sum(count.candidates for count in counts)
        if not candidates:
            views = ", ".join(view.name for view in self._views)
            raise DataError(
                f"no row: rule no_snapshot removed all; none of {views} has a row of a month-end from {window}"
            )
        removed = {rule: sum(count.removed[rule] for count in counts) for rule in RULES}
        reasons = "; ".join(
            f"rule {rule} removed {number} ({RULES[rule]})" for rule, number in removed.items() if number
        )
        raise DataError(f"no row is left of {candidates} at the month-ends from {window}: {reasons}")

    def _judged(self) -> sql.Composed:
        """WITH ... judged(key..., t, label, rule): each candidate with the first rule that removes it, or NULL."""
        return sql.SQL(
            "WITH instants(t, target, tolerance) AS (VALUES {instants}),\n"
            "candidates AS (\n"
            "  SELECT {key}, t, max(state) AS state FROM (\n{views}\n  ) AS seen GROUP BY {key}, t\n"
            "),\n"
            "labelled AS (\n{labelled}\n),\n"
            "judged AS (\n"
            "  SELECT {key}, t, label, CASE\n"
            "    WHEN state = 0 THEN 'known_too_late' WHEN state = 1 THEN 'withdrawn'\n"
            "    WHEN found IS NULL THEN 'no_label' WHEN label IS NULL THEN 'null_label' END AS rule\n"
            "  FROM candidates LEFT JOIN labelled USING ({key}, t)\n"
            ")"
        ).format(
            instants=_list(
                sql.SQL("({}::timestamptz, {}::timestamptz, {}::interval)").format(
                    sql.Literal(one.event_timestamp), sql.Literal(one.target), sql.Literal(one.tolerance)
                )
                for one in self._instants
            ),
            key=_list(self._key),
            views=sql.SQL("\n    UNION ALL\n").join(self._seen(view) for view in self._views),
            labelled=self._labelled(),
        )

    def _seen(self, view: TrainingView) -> sql.Composed:
        """The view's keys at each instant; state 2: there, 1: withdrawn, 0: known too late."""
        source = view.view
        key = [sql.SQL("s.{}").format(sql.Identifier(column)) for _, column in view.keys]
        created_at = (
            sql.SQL("s.{}").format(sql.Identifier(source.created_at_column)) if source.created_at_column else None
        )
        known = sql.SQL("{} <= t + {}").format(created_at, sql.Literal(self._grace)) if created_at else sql.SQL("true")
        withdrawn = sql.SQL("s.{}").format(sql.Identifier(source.tombstone_column)) if source.tombstone_column else None
        order: list[sql.Composable] = [*key, sql.SQL("t")]
        if created_at:
            order += [sql.SQL("{} DESC").format(known), sql.SQL("{} DESC").format(created_at)]
        return sql.SQL(
            "    (SELECT DISTINCT ON ({key}, t) {named}, t,\n"
            "       CASE WHEN NOT {known} THEN 0 WHEN {withdrawn} THEN 1 ELSE 2 END AS state\n"
            "     FROM instants JOIN {relation} AS s ON s.{as_of} = t ORDER BY {order})"
        ).format(
            key=_list(key),
            named=_list(
                sql.SQL("s.{} AS {}").format(sql.Identifier(column), sql.Identifier(name))
                for name, column in sorted(view.keys, key=lambda pair: self._labels.key.index(pair[0]))
            ),
            known=known,
            withdrawn=withdrawn or sql.SQL("false"),
            relation=sql.SQL(source.relation),
            as_of=sql.Identifier(source.as_of_column),
            order=_list(order),
        )

    def _labelled(self) -> sql.Composed:
        """Per key and instant the label in the window that was learned last; of those learned at once the closest."""
        at = sql.SQL("l.{}").format(sql.Identifier(self._labels.contract.instant))
        key = _list(sql.SQL("l.{}").format(column) for column in self._key)
        return sql.SQL(
            "  SELECT DISTINCT ON ({key}, t) {key}, t, l.{label} AS label, true AS found\n"
            "  FROM instants JOIN (\n"
            "    SELECT DISTINCT ON ({key}, {at}) * FROM {table} AS l ORDER BY {key}, {at}, l.created_at DESC\n"
            "  ) AS l ON {at} BETWEEN target - tolerance AND target + tolerance\n"
            "  WHERE NOT l.tombstone\n"
            "  ORDER BY {key}, t, l.created_at DESC, greatest({at} - target, target - {at}), {at} DESC"
        ).format(
            key=key, at=at, label=sql.Identifier(self._labels.label), table=sql.Identifier(self._labels.contract.table)
        )


def window_of(connection: psycopg.Connection, views: Sequence[TrainingView]) -> tuple[datetime, datetime]:
    """The oldest and the newest as_of in the views. Raises JobError when there is none yet."""
    extremes = [
        connection.execute(
            sql.SQL("SELECT min({as_of}), max({as_of}) FROM {relation} AS s")
            .format(as_of=sql.Identifier(view.view.as_of_column), relation=sql.SQL(view.view.relation))
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


def _has_key_of(view: TrainingView, labels: Labels) -> bool:
    return {column for column, _ in view.keys} == set(labels.key)


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
