"""Whether a view's source in Postgres has the columns that its definition needs, of types that fit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import psycopg
from psycopg import sql

from jobs.column_types import TIME_TYPES, TOMBSTONE_TYPES, Fit, PostgresType, accepted, fits
from jobs.definitions import VIEW, SnapshotView
from jobs.errors import UsageError
from jobs.findings import Findings
from jobs.online.current_rows import check_source

Columns = Mapping[str, PostgresType]


def check(connection: psycopg.Connection, view: SnapshotView, findings: Findings) -> None:
    """Note each column of the view's source that is missing, or of a type that does not fit."""
    # Within a transaction, what Postgres refuses would take the statements behind it along.
    with findings.of(VIEW, view.name), connection.transaction():
        columns = source_columns(connection, view)
        wrongs = list(_wrongs(view, columns))
        for wrong in wrongs:
            findings.add(VIEW, view.name, wrong)
        if not wrongs:  # what else Postgres has to say of the query that a materialization asks
            check_source(connection, view)


def source_columns(connection: psycopg.Connection, view: SnapshotView) -> Columns:
    """The columns of the view's source by name. Raises UsageError for a source that cannot be read."""
    query = sql.SQL("SELECT * FROM {} AS snapshots LIMIT 0").format(sql.SQL(view.relation))
    try:
        described = connection.execute(query).description or []
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
        raise UsageError(f"{_misfit(view)}: {str(error).splitlines()[0]}") from error
    double = [name for name, count in Counter(column.name for column in described).items() if count > 1]
    if double:
        raise UsageError(f"{_misfit(view)}: it has two columns named {double[0]}; name each one apart")
    types = _types(connection, {column.type_code for column in described})
    return {column.name: types[column.type_code] for column in described}


def _types(connection: psycopg.Connection, oids: set[int]) -> Mapping[int, PostgresType]:
    """Postgres describes a column of a domain by its base type, but not an array's elements."""
    rows = connection.execute(
        """WITH RECURSIVE elements (array_oid, element_oid) AS (
               SELECT oid, typelem FROM pg_type WHERE oid = ANY(%s) AND typcategory = 'A' AND typlen = -1
             UNION ALL
               SELECT array_oid, typbasetype FROM elements JOIN pg_type ON oid = element_oid WHERE typtype = 'd'
           )
           SELECT named, format_type(named, NULL), (
               SELECT format_type(element_oid, NULL) FROM elements JOIN pg_type ON oid = element_oid
               WHERE array_oid = named AND typtype != 'd'
           ) FROM unnest(%s::oid[]) AS named""",
        (list(oids), list(oids)),
    )
    return {oid: PostgresType(name, element) for oid, name, element in rows}


def _wrongs(view: SnapshotView, columns: Columns) -> Iterator[str]:
    for key in view.join_keys:
        yield from _wrong_value(view, f"join key {key.name}", key.type, key.column, columns)
    for feature in view.features:
        yield from _wrong_value(view, f"feature {view.name}:{feature.name}", feature.type, feature.column, columns)
    roles = {
        "timestamp_field": (view.as_of_column, TIME_TYPES),
        "created_timestamp_column": (view.created_at_column, TIME_TYPES),
        "tombstone_column": (view.tombstone_column, TOMBSTONE_TYPES),
    }
    for role, (column, types) in roles.items():
        if column and column not in columns:
            yield _missing(view, column, columns)
        elif column and columns[column].name not in types:
            yield f"{_misfit(view)}: its {role} {column} is {columns[column].name}; it must be {' or '.join(types)}"


def _wrong_value(view: SnapshotView, what: str, value_type: str, column: str, columns: Columns) -> Iterator[str]:
    if column not in columns:
        yield _missing(view, column, columns)
    elif fits(value_type, columns[column]) is Fit.REFUSED:
        yield (
            f"{_misfit(view)}: {what} has type {value_type}, but column {column} is {columns[column].name}; give it "
            f"another type, or a query as source that makes {accepted(value_type)} of the column"
        )


def _missing(view: SnapshotView, column: str, columns: Columns) -> str:
    near = get_close_matches(column, columns, cutoff=0.5)
    hint = f"; columns of nearly that name are {', '.join(near)}" if near else ""
    return f'{_misfit(view)}: column "{column}" does not exist{hint}'


def _misfit(view: SnapshotView) -> str:
    return f"feature view {view.name} does not fit its source {view.source}"
