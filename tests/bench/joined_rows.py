"""The rows of all feature views side by side, as SQL: what floors read, and which rows a training set has.

`tables`: each table of the offline store with the columns that its view serves.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Tables = Mapping[str, Sequence[str]]


def tables_of(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """Those of the serving plan's feature views."""
    return {view["source"]: list(view["features"]) for view in plan["feature_views"].values()}


def current(tables: Tables, as_of: datetime, not_before: datetime) -> str:
    """One row a customer: of each table the newest row up to `as_of`."""
    newest = [
        f"(SELECT DISTINCT ON (user_id) user_id, as_of AS as_of_{number}, {', '.join(columns)} FROM {table}"
        f" WHERE as_of BETWEEN '{not_before.isoformat()}' AND '{as_of.isoformat()}'"
        f" ORDER BY user_id, as_of DESC, created_at DESC) AS t{number}"
        for number, (table, columns) in enumerate(tables.items())
    ]
    return f"SELECT * FROM {newest[0]} " + " ".join(f"FULL JOIN {one} USING (user_id)" for one in newest[1:])


def at_month_ends(tables: Tables) -> str:
    """One row for each customer and month-end, of months that nothing corrects."""
    first, *others = tables
    joins = " ".join(f"LEFT JOIN {table} USING (user_id, as_of)" for table in others)
    columns = ", ".join(column for names in tables.values() for column in names)
    return f"SELECT user_id, as_of, {columns} FROM {first} {joins}"


def entities(tables: Tables) -> str:
    """Every customer at every month-end, as Feast asks for entities."""
    return f"SELECT user_id, as_of AS event_timestamp FROM {next(iter(tables))}"


def amendments(tables: Tables) -> str:
    """How many rows correct or take back another one, of which stock Feast knows nothing."""
    counts = [
        f"SELECT count(*) - count(DISTINCT (user_id, as_of)) + count(*) FILTER (WHERE tombstone) AS n FROM {table}"
        for table in tables
    ]
    return f"SELECT sum(n) FROM ({' UNION ALL '.join(counts)}) AS counted"
