"""Small worlds for training sets: a database with the shipped definitions, and rows put into it one by one."""

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from jobs import training_set
from jobs.local.servers import PostgresServer
from jobs.registry import Repository
from jobs.settings import load_settings
from tests.databases import clone

JANUARY, FEBRUARY, MARCH = (datetime(2024, month, last, tzinfo=UTC) for month, last in ((1, 31), (2, 29), (3, 31)))
DAY = timedelta(days=1)
TABLES = (
    "subscriptions_profile_snapshots",
    "usage_agg_30d_snapshots",
    "payments_agg_90d_snapshots",
    "support_agg_90d_snapshots",
)
FEATURES = [
    "months_active", "monthly_fee", "paperless_billing", "plan_stream_tv", "plan_stream_movies", "net_service",
    "watch_hours_30d", "avg_session_mins_7d", "unique_devices_30d", "skips_7d", "rebuffer_events_7d",
    "failed_payments_90d", "support_tickets_90d", "ticket_avg_resolution_hrs_90d",
]  # fmt: skip


@contextmanager
def applied_template(server: PostgresServer, migrated: str, repository: Path) -> Iterator[str]:
    """A database to clone from: migrated, and with the repository's definitions in the registry."""
    with pytest.MonkeyPatch.context() as monkeypatch, clone(server, migrated, monkeypatch) as name:
        monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(repository))
        monkeypatch.setenv("FEATURE_PLATFORM_PROJECT", "streamflow")
        monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "127.0.0.1:1")
        Repository(load_settings()).apply()
        with server.connect() as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield name


class World:
    """The offline store's rows, as a test puts them there."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def there(self, user: str, as_of: datetime, *, known: timedelta = DAY, **columns: object) -> None:
        """A row of the customer in each snapshot table, known from `as_of` + `known`."""
        for table in TABLES:
            self._insert(table, {"user_id": user, "as_of": as_of, "created_at": as_of + known}, columns)

    def gone(self, user: str, as_of: datetime, *, known: timedelta) -> None:
        """Each of the customer's rows at `as_of` is taken back."""
        for table in TABLES:
            self._insert(table, {"user_id": user, "as_of": as_of, "created_at": as_of + known, "tombstone": True}, {})

    def label(self, user: str, at: datetime, churn: bool | None, *, known: timedelta = DAY, **columns: object) -> None:
        """A label, known from `at` + `known`."""
        row = {"user_id": user, "label_at": at, "created_at": at + known, "churn_label": churn}
        self._insert("churn_labels", row | columns, {})

    def shuffle(self) -> None:
        """The same rows at other places of their tables."""
        for table in (*TABLES, "churn_labels"):
            name = sql.Identifier(table)
            self.connection.execute(sql.SQL("CREATE TEMP TABLE moved AS SELECT * FROM {}").format(name))
            self.connection.execute(sql.SQL("TRUNCATE {}").format(name))
            self.connection.execute(sql.SQL("INSERT INTO {} SELECT * FROM moved ORDER BY random()").format(name))
            self.connection.execute("DROP TABLE moved")

    def _insert(self, table: str, row: dict[str, Any], more: dict[str, object]) -> None:
        known = {name for (name,) in self.connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'offline' AND table_name = %s",
            (table,))}  # fmt: skip
        row = row | {name: value for name, value in more.items() if name in known}
        self.connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(sql.Placeholder() * len(row)),
            ),
            list(row.values()),
        )


@dataclass
class Outcome:
    """What a run of the job left."""

    code: int
    line: str
    folder: Path
    log: str = field(repr=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The Parquet file's rows."""
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "training_df.parquet").to_pylist()
        return rows

    @property
    def csv_rows(self) -> list[dict[str, str]]:
        """The CSV file's rows."""
        with (self.folder / "training_df.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest."""
        content: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        return content

    @property
    def files(self) -> dict[str, bytes]:
        """Everything in the folder, byte for byte."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def pairs(self) -> list[tuple[str, datetime]]:
        """Customer and instant of each row, in the file's order."""
        return [(row["user_id"], row["event_timestamp"]) for row in self.rows]


def run_job(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str, output: str | None = None) -> Outcome:
    """Run the job in this process; `output` is what it is told where the folder is not named as such."""
    capsys.readouterr()
    code = training_set.main(["--output", output or str(folder), *flags])
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert "Traceback" not in said.err + said.out
    return Outcome(code, said.out, folder, said.err)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds exactly one set, whose files are those that its manifest describes."""
    found = {path.name for path in folder.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    return found == {*manifest["files"], "manifest.json"} and all(
        about["sha256"] == hashes[name] for name, about in manifest["files"].items()
    )
