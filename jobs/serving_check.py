"""`python -m jobs.serving_check`: whether the gateway serves what Postgres says."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg
from pydantic import Field

from jobs import feast_store, postgres
from jobs.definitions import Definitions, Service, SnapshotView, resolve
from jobs.errors import JobError, UsageError
from jobs.flags import job_parser, seconds
from jobs.instants import utc_now
from jobs.online.comparison import Comparison, ViewRows, counted, extremes
from jobs.online.current_rows import current_rows_of
from jobs.online.gateway_client import Gateway, Status
from jobs.online.sampled_entities import some_entities
from jobs.online.served_value import as_served
from jobs.runner import run_reader
from jobs.settings import RepositorySettings, load, load_settings

JOB = "serving_check"
SHOWN_DIFFERENCES, MOST_ENTITIES = 3, 10_000
# Nobody is called so, by type of the join key and as the gateway takes it; bytes as base64.
STRANGER = {
    "STRING": "no-such-entity", "BYTES": "bm8tc3VjaC1lbnRpdHk=",
    "INT32": -(2**31), "INT64": -(2**63), "UNIX_TIMESTAMP": -(2**63),
}  # fmt: skip


class GatewaySettings(RepositorySettings):
    """What the gateway wants of who asks."""

    api_key: str = Field("", repr=False, pattern=r"^[!-~]*$")


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and return the exit code: 0 equal, 1 not equal or not to be compared, 2 wrong flags or settings."""
    return run_reader(JOB, _parser(), argv, _check)


def _parser() -> argparse.ArgumentParser:
    parser = job_parser(
        JOB,
        "Ask the gateway for entities that the offline store has a current row of at the online store's watermark,\n"
        "and compare each value of the default feature service with Postgres, exactly; then for one that does not\n"
        "exist. Of a value that is older than its ttl, and therefore hidden, instant, age and status are compared; a\n"
        "feature that is computed on demand has to be there. Changes nothing and writes no row to the ledger.\n\n"
        "FEATURE_PLATFORM_API_KEY is the key to show, where the gateway asks for one. A correction that was ingested\n"
        "after the last materialization is a difference until the next one.",
    )
    parser.add_argument(
        "--gateway", required=True, metavar="URL", help="where the gateway is, as in http://localhost:8000"
    )
    parser.add_argument(
        "--entities", type=_count, default=1, metavar="N", help="how many to ask for, the same each time (default 1)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to try again where the gateway does not answer (default 60)",
    )
    return parser


def _check(arguments: argparse.Namespace) -> str:
    deadline = time.monotonic() + arguments.timeout
    address = _checked(arguments.gateway)
    settings, api_key = load_settings(), load(GatewaySettings).api_key
    feast_store.import_feast_unchecked()
    definitions = resolve(feast_store.open_store(settings))
    with closing(Gateway(address, api_key, deadline)) as gateway:
        gateway.wait_until_ready()
        check = _ServingCheck(gateway, definitions)
        while (told := check.compare(arguments.entities)) is None:
            if time.monotonic() > deadline:
                raise JobError("each time something was materialized while features were compared; try again")
        check.ask_for_stranger()
    return told


class _ServingCheck:
    """Compares the default feature service."""

    def __init__(self, gateway: Gateway, definitions: Definitions) -> None:
        self._gateway = gateway
        served = gateway.default_service()
        if served != definitions.default_service:
            raise JobError(
                f"the gateway's default feature service is {served}, the registry's {definitions.default_service}: the "
                "former plan serves until a materialization has filled what the new one needs; materialize"
            )
        self._service = next(one for one in definitions.services if one.name == served)
        self._views = _views(definitions, self._service)
        self._join_keys = {key.name: key for view in self._views for key in view.join_keys}

    def compare(self, count: int) -> str | None:
        """What was compared and is equal; None when a materialization ended meanwhile. Raises JobError otherwise."""
        status = self._gateway.status()
        watermarks = self._watermarks(status)
        with postgres.connect(JOB) as connection:
            connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
            entities = some_entities(connection, self._views, watermarks, count)
            rows = {view.name: _rows(connection, view, watermarks[view.name], entities) for view in self._views}
        comparison = Comparison(self._service, rows)
        for entity in entities:
            answer = self._gateway.features(self._as_asked(entity))
            comparison.add(entity, answer, utc_now() if status.ages_from_now else None)
        if not comparison.differences:
            return f"{comparison.told(len(entities), self._gateway.url)} at {extremes(watermarks.values())}"
        if self._gateway.status().views != status.views:
            return None
        shown = "; ".join(comparison.differences[:SHOWN_DIFFERENCES])
        raise JobError(f"{counted(len(comparison.differences), 'difference')} at {self._gateway.url}: {shown}")

    def ask_for_stranger(self) -> None:
        """Raises JobError unless an entity that does not exist is unknown."""
        entity = {name: STRANGER[key.type] for name, key in self._join_keys.items()}
        if entity and self._gateway.features(entity) is not None:
            who = ", ".join(map(str, entity.values()))
            raise JobError(f"the gateway at {self._gateway.url} knows {who}, who does not exist, and should say 404")

    def _watermarks(self, status: Status) -> dict[str, datetime]:
        for view in self._views:
            if view.name not in status.views:
                raise JobError(
                    f"feature view {view.name} is not materialized yet; run `python -m jobs.materialize`, in a cluster "
                    "`kubectl create job NAME --from=cronjob/RELEASE-materialization`"
                )
        return {view.name: status.views[view.name].watermark for view in self._views}

    def _as_asked(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        return {name: as_served(self._join_keys[name].type, value) for name, value in entity.items()}


def _checked(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--gateway {address} is no URL like http://localhost:8000")
    return address


def _views(definitions: Definitions, service: Service) -> list[SnapshotView]:
    """The stored views that the service reads, also for what it computes on demand."""
    named = {feature.feature_view for feature in service.features}
    computed = [view for view in definitions.on_demand_views if view.name in named]
    read = named | {reference.split(":")[0] for view in computed for reference in view.inputs}
    views = [view for view in definitions.views if view.name in read]
    if not any(view.name in named for view in views):
        raise UsageError(f"feature service {service.name} computes all of its features on demand; none can be compared")
    return views


def _rows(
    connection: psycopg.Connection, view: SnapshotView, watermark: datetime, entities: Sequence[Mapping[str, Any]]
) -> ViewRows:
    keys = {tuple(entity[key.name] for key in view.join_keys) for entity in entities}
    return ViewRows(view, watermark, current_rows_of(connection, view, watermark, list(keys)))


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ENTITIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of entities from 1 to {MOST_ENTITIES}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
