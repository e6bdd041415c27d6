"""`python -m jobs.serving_check`: whether the gateway serves what Postgres says, end to end."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import psycopg
from psycopg import sql
from pydantic import Field

from jobs import postgres
from jobs.definitions import Definitions, Service, SnapshotView, resolve
from jobs.errors import JobError, UsageError
from jobs.feast_store import import_feast_unchecked, open_store
from jobs.flags import job_parser
from jobs.instants import isoformat, parse_instant
from jobs.online.current_rows import current_rows_query
from jobs.online.encoding import encode_timestamp
from jobs.online.gateway_client import Gateway, JsonObject
from jobs.online.served_value import as_served
from jobs.runner import run_reader
from jobs.settings import RepositorySettings, load, load_settings

JOB = "serving_check"
ENTITIES = 10
STRANGER = "nobody-of-the-serving-check"
MOST_LOOKS = 3


class GatewaySettings(RepositorySettings):
    """What the gateway wants of who asks."""

    api_key: str = Field("", repr=False)


class MovedError(JobError):
    """A materialization ended between two looks."""


@dataclass(frozen=True)
class Expected:
    """What a view holds of the asked entities at its watermark: join key values to the row's features and as_of."""

    view: SnapshotView
    rows: Mapping[tuple[Any, ...], tuple[Any, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and return the exit code: 0 equal, 1 not equal or not to be compared, 2 wrong settings."""
    parser = job_parser(
        JOB,
        f"Read the default feature service of {ENTITIES} entities through the gateway and compare each value with the\n"
        "offline store at the online store's watermark; ask for an entity that there is not. On-demand features are\n"
        "left out. FEATURE_PLATFORM_API_KEY is the gateway's key, where it asks for one.",
    )
    parser.add_argument("--gateway", required=True, metavar="URL", help="the gateway, as in http://localhost:8000")
    return run_reader(JOB, parser, argv, _check)


def _check(arguments: argparse.Namespace) -> str:
    if not arguments.gateway.startswith(("http://", "https://")):
        raise UsageError(f"--gateway {arguments.gateway} must start with http:// or https://")
    settings = load_settings()
    import_feast_unchecked()
    definitions = resolve(open_store(settings))
    service = next(one for one in definitions.services if one.name == definitions.default_service)
    with closing(Gateway(arguments.gateway, load(GatewaySettings).api_key)) as gateway:
        for look in range(1, MOST_LOOKS + 1):
            try:
                compared = _compare(gateway, definitions, service)
                break
            except MovedError:
                if look == MOST_LOOKS:
                    raise
        _check_stranger(gateway, definitions, service)
        return f"done: {compared} through {gateway.url} equal Postgres"


def _compare(gateway: Gateway, definitions: Definitions, service: Service) -> str:
    views = _views(definitions, service)
    watermarks = gateway.watermarks()
    for view in views:
        if watermarks.get(view.name) is None:
            raise JobError(
                f"feature view {view.name} is not materialized yet; run `python -m jobs.materialize`, in a cluster "
                "`kubectl create job NAME --from=cronjob/...-materialization`"
            )
    at = {view.name: instant for view in views if (instant := watermarks[view.name]) is not None}
    with closing(postgres.connect(JOB)) as connection:
        keys = _some_keys(connection, views[0], at[views[0].name])
        expected = [Expected(view, _rows(connection, view, at[view.name], keys)) for view in views]
    names = [key.name for key in views[0].join_keys]
    answers = gateway.features(service.name, {name: [key[n] for key in keys] for n, name in enumerate(names)})
    wrong = _differences(service, expected, keys, answers)
    if wrong and gateway.watermarks() != watermarks:
        raise MovedError("a materialization ended while features were compared; try again")
    if wrong:
        raise JobError(f"{len(wrong)} values differ: " + "; ".join(wrong[:3]))
    stored = {view.name for view in views}
    features = sum(feature.feature_view in stored for feature in service.features)
    least = isoformat(min(at.values()))
    return f"{features} features of {service.name} of {len(keys)} entities at {least}"


def _views(definitions: Definitions, service: Service) -> list[SnapshotView]:
    """The service's stored views, all of which must have the same join keys to be asked for together."""
    wanted = {feature.feature_view for feature in service.features}
    views = [view for view in definitions.views if view.name in wanted]
    if not views or any(view.join_keys != views[0].join_keys for view in views) or not views[0].join_keys:
        raise UsageError(f"feature service {service.name} has no single entity whose features could be compared")
    return views


def _some_keys(connection: psycopg.Connection, view: SnapshotView, at: datetime) -> list[tuple[Any, ...]]:
    """The first entities in key order that have a current row."""
    columns = sql.SQL(", ").join(sql.Identifier(key.column) for key in view.join_keys)
    query = sql.SQL("SELECT {} FROM ({}) AS current LIMIT {}").format(columns, current_rows_query(view), ENTITIES)
    keys = connection.execute(query, _bounds(view, at)).fetchall()
    if not keys:
        raise JobError(f"the offline store has no row of feature view {view.name} at {isoformat(at)}")
    return keys


def _rows(
    connection: psycopg.Connection, view: SnapshotView, at: datetime, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    columns = sql.SQL(", ").join(sql.Identifier(key.column) for key in view.join_keys)
    some = sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, key))) for key in keys)
    query = sql.SQL("SELECT * FROM ({}) AS current WHERE ({}) IN ({})").format(current_rows_query(view), columns, some)
    width = len(view.join_keys)
    return {row[:width]: row[width:] for row in connection.execute(query, _bounds(view, at))}


def _bounds(view: SnapshotView, at: datetime) -> list[datetime]:
    return [at] if view.ttl is None else [at, at - view.ttl]


def _differences(
    service: Service,
    expected: Sequence[Expected],
    keys: Sequence[tuple[Any, ...]],
    answers: Sequence[JsonObject],
) -> list[str]:
    of_view = {one.view.name: one for one in expected}
    asked = [feature for feature in service.features if feature.feature_view in of_view]
    wrong = []
    for key, answer in zip(keys, answers, strict=True):
        for feature in asked:
            there = of_view[feature.feature_view]
            said = (answer["features"][feature.name], answer["metadata"][feature.name])
            problem = _problem(there.view, feature.feature, there.rows.get(key), *said)
            if problem:
                wrong.append(f"{feature.name} of {', '.join(map(str, key))}: {problem}")
    return wrong


def _problem(
    view: SnapshotView, name: str, row: tuple[Any, ...] | None, value: Any, metadata: JsonObject
) -> str | None:
    """What is wrong with one value that the gateway served; None when it is right."""
    status = metadata["status"]
    if row is None:
        return None if (value, status) == (None, "NOT_FOUND") else f"there is none, the gateway says {value} ({status})"
    feature, right = next(
        (feature, value) for feature, value in zip(view.features, row, strict=False) if feature.name == name
    )
    if metadata["event_timestamp"] is None or not _same_instant(metadata["event_timestamp"], row[-1]):
        return f"it is of {isoformat(row[-1])}, the gateway says {metadata['event_timestamp']}"
    if status == "OUTSIDE_MAX_AGE":
        too_old = view.ttl is not None and metadata["age"] > view.ttl.total_seconds()
        return None if too_old and value is None else f"its age is {metadata['age']} s, and the gateway says {status}"
    right = as_served(feature.type, right)
    if (value, status) == (right, "NULL_VALUE" if right is None else "PRESENT"):
        return None
    return f"Postgres says {right}, the gateway {value} ({status})"


def _same_instant(text: str, instant: datetime) -> bool:
    return encode_timestamp(parse_instant(text)) == encode_timestamp(instant)


def _check_stranger(gateway: Gateway, definitions: Definitions, service: Service) -> None:
    keys = _views(definitions, service)[0].join_keys
    if len(keys) != 1 or keys[0].type != "STRING":
        return
    status = gateway.get(f"/features/{STRANGER}").status_code
    if status != httpx.codes.NOT_FOUND:
        raise JobError(f"the gateway says {status} of {keys[0].name} {STRANGER}, who is unknown, and should say 404")


if __name__ == "__main__":
    sys.exit(main())
