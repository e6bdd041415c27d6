"""The registry's definitions without Feast: as `apply` resolved them (table `ledger.definitions`), while they hold."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import psycopg
from psycopg import sql
from pydantic import TypeAdapter, ValidationError

from jobs.definitions import Definitions, SnapshotView
from jobs.instants import utc_now
from jobs.online.encoding import delimited, encode_timestamp, varint

TABLE = "ledger.definitions"
_KINDS = {
    "entities": "entity", "data_sources": "data_source", "feature_views": "feature_view",
    "on_demand_feature_views": "feature_view", "feature_services": "feature_service",
}  # fmt: skip
_DEFINITIONS = TypeAdapter(Definitions)
_AVAILABLE_ONLINE = 4
# Another release applied last.
_UNKNOWN = (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege)


def note(connection: psycopg.Connection, project: str, definitions: Definitions) -> None:
    """Remember what the registry defines. The caller holds the writer lock, and has just resolved it."""
    digest = _registry_digest(connection, project)
    if digest is not None:
        connection.execute(
            """INSERT INTO ledger.definitions AS known VALUES (%s, %s, %s) ON CONFLICT (project) DO UPDATE
               SET registry_digest = excluded.registry_digest, definitions = excluded.definitions
               WHERE (known.registry_digest, known.definitions) != (excluded.registry_digest, excluded.definitions)""",
            (project, digest, _DEFINITIONS.dump_json(definitions).decode()),
        )


def confirm(connection: psycopg.Connection, project: str, definitions: Definitions) -> None:
    """Note that the registry, which others have changed, still defines what `apply` resolved, if that is so.

    They may have recorded a materialization, as Feast's own command does.
    """
    with suppress(*_UNKNOWN, ValidationError), connection.transaction():
        digest = _registry_digest(connection, project)
        query = "SELECT definitions::text FROM ledger.definitions WHERE project = %s FOR UPDATE"
        row = connection.execute(query, (project,)).fetchone()
        if row is not None and _DEFINITIONS.validate_json(row[0]) == definitions:
            query = "UPDATE ledger.definitions SET registry_digest = %s WHERE project = %s"
            connection.execute(query, (digest, project))


def look(connection: psycopg.Connection, project: str) -> Definitions | None:
    """The definitions; None when none were noted, or the registry has changed since by other hands than ours."""
    try:
        query = "SELECT registry_digest, definitions::text FROM ledger.definitions WHERE project = %s"
        row = connection.execute(query, (project,)).fetchone()
        if row is None or row[0] != _registry_digest(connection, project):
            return None
        return _DEFINITIONS.validate_json(row[1])
    except (*_UNKNOWN, ValidationError):
        return None


def record_materialization(
    connection: psycopg.Connection,
    project: str,
    views: Sequence[SnapshotView],
    starts: Sequence[datetime],
    end: datetime,
) -> bool:
    """Add an interval to each view in the registry, as Feast's apply_materialization does; all or nothing.

    False, and nothing changed, when the registry has changed since `look`. A message that follows another in protobuf's
    encoding is merged into it: an interval is added by appending it (protobuf.dev, "Encoding", last one wins).
    """
    now = utc_now()
    with suppress(*_UNKNOWN), connection.transaction():
        query = "SELECT registry_digest FROM ledger.definitions WHERE project = %s FOR UPDATE"
        row = connection.execute(query, (project,)).fetchone()
        if row is None or row[0] != _registry_digest(connection, project):
            return False
        for view, start in zip(views, starts, strict=True):
            connection.execute(
                """UPDATE registry.feature_views
                   SET feature_view_proto = feature_view_proto || %s, last_updated_timestamp = %s
                   WHERE feature_view_name = %s AND project_id = %s""",
                (_interval(start, end, now), int(now.timestamp()), view.name, project),
            )
        connection.execute(
            """UPDATE registry.feast_metadata SET metadata_value = %s, last_updated_timestamp = %s
               WHERE metadata_key = 'last_updated_timestamp' AND project_id = %s""",
            (str(int(now.timestamp())), int(now.timestamp()), project),
        )
        connection.execute(
            "UPDATE ledger.definitions SET registry_digest = %s WHERE project = %s",
            (_registry_digest(connection, project), project),
        )
        return True
    return False


def _interval(start: datetime, end: datetime, now: datetime) -> bytes:
    """A feast.core.FeatureView of nothing but meta: last_updated_timestamp, one interval, state AVAILABLE_ONLINE."""
    interval = delimited(1, encode_timestamp(start)) + delimited(2, encode_timestamp(end))
    state = varint(6 << 3) + varint(_AVAILABLE_ONLINE)
    return delimited(2, delimited(2, encode_timestamp(now)) + delimited(3, interval) + state)


def _registry_digest(connection: psycopg.Connection, project: str) -> str | None:
    """Of all that the project's rows hold; None where Feast's registry is not in this database."""
    if connection.execute("SELECT to_regclass('registry.feature_views')").fetchone() == (None,):
        return None
    tables = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {kind} AS kind, {name} AS name, md5({proto}) AS digest FROM {table} WHERE project_id = {project}"
        ).format(
            kind=sql.Literal(table),
            name=sql.Identifier(f"{stem}_name"),
            proto=sql.Identifier(f"{stem}_proto"),
            table=sql.Identifier("registry", table),
            project=sql.Literal(project),
        )
        for table, stem in _KINDS.items()
    )
    query = sql.SQL("SELECT md5(string_agg(kind || name || digest, ',' ORDER BY kind, name)) FROM ({}) AS rows")
    row = connection.execute(query.format(tables)).fetchone()
    return None if row is None else row[0]
