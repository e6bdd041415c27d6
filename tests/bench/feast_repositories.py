"""Feast as it comes, over the same tables and the same Redis: repositories of its own stores and its local engine."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from psycopg import sql

from tests.bench.world import PROJECT, World
from tests.conftest import REPOSITORY

DEFAULT: dict[str, Any] = {}
# What a user sets who knows Feast 0.67: only a key's newest row is asked for, so that no row need be compared with the
# one that is there (`skip_dedup` saves the reading of it), and rows are written in batches. Of 30,000 customers on a
# busy machine, medians of two rounds: in one batch 4,200 rows/s and 488 MB, by 1,000 rows 4,400 and 280 MB, by 5,000
# 4,700 and 306 MB, by 20,000 4,900 and 451 MB; without `skip_dedup`, by 5,000, 4,600. One and the same size differed by
# a third between its rounds, so that 5,000 and 20,000 are not told apart in speed; 5,000 needs less memory.
BATCH_ROWS = 5_000
TUNED: dict[str, Any] = {
    "materialization": {"pull_latest_features": True, "online_write_batch_size": BATCH_ROWS},
    "online_store": {"skip_dedup": True},
}
LOGIN = "feast"
EMBEDDED: dict[str, Any] = {"offline_store": {"entity_select_mode": "embed_query"}}


def create_login(world: World) -> None:
    """Whom stock Feast connects as: a superuser, for whom Postgres plans no nested loops.

    Postgres takes the entities that Feast's point-in-time query joins for a row or so and joins them in nested loops,
    in quadratic time: 4,000 training rows are not there after 25 s, without them after 0.4 s. Feast passes no settings
    on, so this is what one who knows would do.
    """
    login, password = sql.Identifier(LOGIN), sql.Literal(world.platform.environment["PGPASSWORD"])
    with world.offline() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(login, password))
        connection.execute(sql.SQL("ALTER ROLE {} SET enable_nestloop = off").format(login))


def apply(world: World, name: str, changes: Mapping[str, Any]) -> Path:
    """A folder with the shipped definitions, applied to a registry of their own. CalledProcessError if that fails."""
    folder = world.folder / name
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings(world.platform.environment, changes)))
    shutil.copy(REPOSITORY / "feature_repo" / "features.py", folder)
    command = [sys.executable, "-c", "from feast.cli.cli import cli; cli()", "--chdir", str(folder), "apply"]
    with (world.folder / "logs" / f"{name}.apply.log").open("wb") as log:
        subprocess.run(command, env=world.platform.environment, stdout=log, stderr=log, check=True)
    return folder


def settings(environment: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The feature_store.yaml of stock Feast, with changes to its sections."""
    stock: dict[str, Any] = {
        "project": PROJECT,
        "provider": "local",
        "entity_key_serialization_version": 3,
        "registry": {"registry_type": "file", "path": "registry.db"},
        "offline_store": {
            "type": "postgres", "host": environment["PGHOST"], "port": int(environment["PGPORT"]),
            "database": environment["PGDATABASE"], "user": LOGIN, "db_schema": "offline",
            "password": environment["PGPASSWORD"], "sslmode": environment["PGSSLMODE"],
        },
        "online_store": {
            "type": "redis", "connection_string": environment["FEATURE_PLATFORM_REDIS_CONNECTION_STRING"],
        },
        "batch_engine": {"type": "local"},
    }  # fmt: skip
    return stock | {section: stock.get(section, {}) | change for section, change in changes.items()}
