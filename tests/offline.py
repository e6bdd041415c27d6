"""The offline store as tests fill it, and the online store as they look at it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tests.bytes_redis import BytesRedis

JANUARY = datetime(2024, 1, 31, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 29, tzinfo=UTC)
MARCH = datetime(2024, 3, 31, tzinfo=UTC)
APRIL = datetime(2024, 4, 30, tzinfo=UTC)

TABLES: dict[str, dict[str, Any]] = {
    "subscriptions_profile_snapshots": {
        "months_active": 1, "monthly_fee": 29.85, "paperless_billing": True, "plan_stream_tv": False,
        "plan_stream_movies": False, "net_service": "DSL",
    },
    "usage_agg_30d_snapshots": {
        "watch_hours_30d": 30.5, "avg_session_mins_7d": 42.0, "unique_devices_30d": 2, "skips_7d": 3,
        "rebuffer_events_7d": 1,
    },
    "payments_agg_90d_snapshots": {"failed_payments_90d": 0},
    "support_agg_90d_snapshots": {"support_tickets_90d": 0, "ticket_avg_resolution_hrs_90d": None},
}  # fmt: skip
"""The snapshot tables behind the four feature views, each with one plausible row's features."""


class OfflineStore:
    """Writes snapshot rows directly, so that a test states exactly which rows there are."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def snapshot(
        self,
        user: str,
        as_of: datetime,
        created_at: datetime | None = None,
        *,
        tombstone: bool = False,
        **features: Any,
    ) -> None:
        """One row in each snapshot table; `features` replace the plausible ones. Known a day later by default."""
        for table, plausible in TABLES.items():
            values = {name: features.get(name, value) for name, value in plausible.items()}
            self.row(table, user, as_of, created_at, tombstone=tombstone, **values)

    def row(
        self,
        table: str,
        user: str,
        as_of: datetime,
        created_at: datetime | None = None,
        *,
        tombstone: bool = False,
        **features: Any,
    ) -> None:
        """One row in `table`; columns that are not named are NULL."""
        known = created_at or as_of + timedelta(days=1)
        values = {"user_id": user, "as_of": as_of, "created_at": known, "tombstone": tombstone}
        values |= dict.fromkeys(features) if tombstone else features
        query = sql.SQL("INSERT INTO offline.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        self.connection.execute(query, list(values.values()))

    def many(self, users: Sequence[str], as_of: datetime, months_active: int = 1) -> None:
        """The same plausible row for each of `users`."""
        for user in users:
            self.snapshot(user, as_of, months_active=months_active)

    def runs(self) -> list[tuple[str, str, int | None, str]]:
        """The ledger's (job, state, exit_code, summary) of this database's runs after its apply, oldest first."""
        query = "SELECT job, state, exit_code, summary FROM ledger.runs WHERE run_id > 1 ORDER BY run_id"
        return self.connection.execute(query).fetchall()


def dump(client: BytesRedis) -> dict[bytes, dict[bytes, bytes]]:
    """Everything that Redis holds, but for what tells of the way there: runs, clock times, rows before."""
    keys = (key for key in client.scan_iter(count=1000) if not key.endswith(b":runs"))
    held = {key: dict(client.hgetall(key)) for key in keys}
    for key, fields in held.items():
        if key.endswith(b":status"):
            for view, text in fields.items():
                entry = json.loads(text)
                del entry["started_at"], entry["finished_at"], entry["previous_rows"], entry["run_id"]
                fields[view] = json.dumps(entry, sort_keys=True).encode()
    return held
