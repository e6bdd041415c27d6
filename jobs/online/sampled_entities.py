"""A few entities of several feature views, the same each time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from jobs.definitions import SnapshotView
from jobs.errors import JobError
from jobs.online.current_rows import some_keys


def some_entities(
    connection: psycopg.Connection, views: Sequence[SnapshotView], watermarks: Mapping[str, datetime], count: int
) -> list[dict[str, Any]]:
    """The join keys, as Postgres has them, of `count` entities that `views` hold current rows of at their watermarks.

    The view with the most join keys says who; what it lacks is taken from the others. Without join keys there is one
    entity, {}. Raises JobError when a view that is asked has no current row.
    """
    entities: list[dict[str, Any]] = [{}]
    for view in sorted(views, key=lambda view: len(view.join_keys), reverse=True):
        names = [key.name for key in view.join_keys]
        if entities[0].keys() >= set(names):
            continue
        found = some_keys(connection, view, watermarks[view.name], count)
        if not found:
            raise JobError(f"Postgres holds no current row of feature view {view.name}; ingest, then materialize")
        if not entities[0]:
            entities = [{} for _ in found]
        entities = [
            dict(zip(names, found[number % len(found)], strict=True)) | entity for number, entity in enumerate(entities)
        ]
    return entities
