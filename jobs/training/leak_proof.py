"""Proof that a training set shows nothing that could not be known, found by looking its values up again.

The join is not asked. For each row and view a snapshot with the same key and the same values is looked for, first one
that the row may show, then any other; the greatest distances of what was found are the proof. A value of which the
offline store knows nothing, or only too late, disproves it. Labels are looked up the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pyarrow as pa
from psycopg import sql

from jobs.errors import JobError
from jobs.training.rows import EVENT_TIMESTAMP, Labels
from jobs.training.views import TrainingView
from jobs.training.window import LabelledInstant

ROWS_AT_ONCE = 50_000
PG_TYPES = {
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}


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


def prove_view(connection: psycopg.Connection, view: TrainingView, table: pa.Table, grace: timedelta) -> ViewProof:
    """Raises JobError naming the view when a row shows what it must not, or what the offline store does not hold."""
    shown = [feature for feature in view.view.features if _comparable(table, view.column(feature.name))]
    found = _Found()
    for chunk in _chunks(table):
        values = [(f"f{index}", chunk[view.column(feature.name)]) for index, feature in enumerate(shown)]
        keys = [(f"k{index}", chunk[name]) for index, (name, _) in enumerate(view.keys)]
        rows = _rows([*keys, ("t", chunk[EVENT_TIMESTAMP]), *values])
        matches = [f"s.{_quoted(column)} = r.k{index}" for index, (_, column) in enumerate(view.keys)]
        matches += [
            f"{_as_defined(feature.column, column.type)} IS NOT DISTINCT FROM r.{name}"
            for feature, (name, column) in zip(shown, values, strict=True)
        ]
        found.add(connection, _view_query(view, rows, matches, [name for name, _ in values], grace))
    proof = ViewProof(found.rows, found.highest[0], found.highest[1])
    if found.unknown:
        raise JobError(f"no proof: {found.unknown} rows show values of {view.name} that its source holds nowhere")
    _refuse_above(proof.max_as_of_minus_event_timestamp, f"a value of {view.name} is newer than its row")
    _refuse_above(
        proof.max_created_at_minus_latest_allowed, f"a value of {view.name} became known too late for its row"
    )
    return proof


def prove_labels(
    connection: psycopg.Connection, labels: Labels, instants: Sequence[LabelledInstant], table: pa.Table
) -> LabelProof:
    """Raises JobError when a label lies outside its window, or is not in the table of labels."""
    tolerance = instants[0].tolerance
    targets = {one.event_timestamp: one.target for one in instants}
    found = _Found()
    for chunk in _chunks(table):
        target = pa.chunked_array([[targets[t] for t in chunk[EVENT_TIMESTAMP].to_pylist()]], pa.timestamp("us", "UTC"))
        keys = [(f"k{index}", chunk[name]) for index, name in enumerate(labels.key)]
        label = chunk[labels.label]
        rows = _rows([*keys, ("t", target), ("label", label)])
        matches = [f"s.{_quoted(name)} = r.k{index}" for index, name in enumerate(labels.key)]
        matches.append(f"{_as_defined(labels.label, label.type)} = r.label")
        found.add(connection, _label_query(labels, rows, matches, tolerance))
    if found.unknown:
        raise JobError(f"no proof: {found.unknown} labels are nowhere in {labels.contract.table}")
    seconds = tolerance.total_seconds()
    latest, earliest = found.highest[0], _minus(0.0, found.highest[1])
    _refuse_above(_minus(latest, seconds), "a label lies after its window")
    _refuse_above(_minus(found.highest[1], seconds), "a label lies before its window")
    return LabelProof(found.rows, earliest, latest, seconds)


class _Found:
    """What the queries found so far: rows, rows of which nothing is known, and two greatest distances in seconds."""

    def __init__(self) -> None:
        self.rows = 0
        self.unknown = 0
        self.highest: list[float | None] = [None, None]

    def add(self, connection: psycopg.Connection, query: sql.Composed) -> None:
        rows, unknown, *distances = connection.execute(query.as_string(None)).fetchone() or (0, 0, None, None)
        self.rows += rows
        self.unknown += unknown
        for index, distance in enumerate(distances):
            known = [value for value in (self.highest[index], distance) if value is not None]
            self.highest[index] = float(max(known)) if known else None


def _view_query(
    view: TrainingView, rows: sql.Composed, matches: Sequence[str], values: Sequence[str], grace: timedelta
) -> sql.Composed:
    source = view.view
    created_at = f"s.{_quoted(source.created_at_column)}" if source.created_at_column else "NULL::timestamptz"
    withdrawn = f"COALESCE(s.{_quoted(source.tombstone_column)}, false)" if source.tombstone_column else "false"
    return _query(
        rows,
        relation=source.relation,
        matches=[*matches, f"NOT {withdrawn}"],
        shown=" OR ".join(f"r.{name} IS NOT NULL" for name in values) or "false",
        first=f"extract(epoch FROM s.{_quoted(source.as_of_column)} - r.t)",
        second=f"extract(epoch FROM {created_at} - r.t) - {grace.total_seconds()}",
        preferred="first <= 0 AND (second IS NULL OR second <= 0)",
        closest="first DESC, second DESC",
    )


def _label_query(labels: Labels, rows: sql.Composed, matches: Sequence[str], tolerance: timedelta) -> sql.Composed:
    at = f"s.{_quoted(labels.contract.instant)}"
    return _query(
        rows,
        relation=_quoted(labels.contract.table),
        matches=[*matches, "NOT s.tombstone"],
        shown="true",
        first=f"extract(epoch FROM {at} - r.t)",
        second=f"extract(epoch FROM r.t - {at})",
        preferred=f"abs(first) <= {tolerance.total_seconds()}",
        closest="abs(first)",
    )


def _query(
    rows: sql.Composed,
    *,
    relation: str,
    matches: Sequence[str],
    shown: str,
    first: str,
    second: str,
    preferred: str,
    closest: str,
) -> sql.Composed:
    """Counts the rows that show something and those without a match; the greatest distances are of the best matches."""
    template = (
        "SELECT count(*), count(*) FILTER (WHERE first IS NULL), max(first), max(second) FROM (\n"
        "  SELECT DISTINCT ON (row) row, first, second FROM (\n"
        "    SELECT r.row, {first} AS first, {second} AS second\n"
        "    FROM ({rows}) AS r LEFT JOIN {relation} AS s ON {matches}\n"
        "    WHERE {shown}\n"
        "  ) AS matched ORDER BY row, ({preferred}) DESC NULLS LAST, {closest}\n"
        ") AS best"
    )
    return sql.SQL(template).format(
        rows=rows,
        relation=sql.SQL(relation),
        matches=sql.SQL(" AND ".join(matches)),
        shown=sql.SQL(shown),
        first=sql.SQL(first),
        second=sql.SQL(second),
        preferred=sql.SQL(preferred),
        closest=sql.SQL(closest),
    )


def _rows(columns: Sequence[tuple[str, pa.ChunkedArray]]) -> sql.Composed:
    arrays = (
        sql.SQL("{}::{}[]").format(sql.Literal(column.to_pylist()), sql.SQL(PG_TYPES[column.type]))
        for _, column in columns
    )
    return sql.SQL("SELECT * FROM unnest({arrays}) WITH ORDINALITY AS q({names}, row)").format(
        arrays=_list(arrays), names=_list(sql.Identifier(name) for name, _ in columns)
    )


def _comparable(table: pa.Table, column: str) -> bool:
    # Lists and maps have no order or equality that Arrow and Postgres share; the view's other features tell enough.
    return column in table.column_names and table.schema.field(column).type in PG_TYPES


def _as_defined(column: str, arrow: pa.DataType) -> str:
    """The source's column in the type of the definition, as the set shows it."""
    return f"s.{_quoted(column)}::{PG_TYPES[arrow]}"


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _chunks(table: pa.Table) -> Iterable[pa.Table]:
    return (table.slice(offset, ROWS_AT_ONCE) for offset in range(0, table.num_rows, ROWS_AT_ONCE))


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _refuse_above(seconds: float | None, complaint: str) -> None:
    if seconds is not None and seconds > 0:
        raise JobError(f"no proof: {complaint}, by {seconds:g} s")


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
