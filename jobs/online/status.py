"""The materialization status beside the data in Redis: per feature view its watermark and how it got there."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from jobs.errors import UsageError
from jobs.instants import isoformat, parse_instant
from jobs.online.store import Client


@dataclass(frozen=True)
class ViewStatus:
    """What the last verified materialization of a view left: watermark, rows, clock times, features written."""

    watermark: datetime
    rows: int
    started_at: datetime
    finished_at: datetime
    features: dict[str, str]
    """Name of each feature that is filled to its Feast ValueType's name."""
    retired: list[str] = field(default_factory=list)
    """Features that left the definitions and whose fields are still there."""
    previous_rows: int | None = None
    """How many rows there were at the watermark before; None at the first."""
    run_id: int | None = None
    """The run, as the ledger knows it, that left this."""
    left_out_rows: int = 0
    """Rows of the source whose key or time is NULL."""
    defaulted_elements: int = 0
    """Elements of lists that are NULL in the source and a default value in Redis."""


def status_key(project: str) -> str:
    """The Redis hash that holds one field per feature view."""
    return f"feature-platform:{project}:status"


def read_status(client: Client, project: str) -> dict[str, ViewStatus]:
    """The status of every view that was ever materialized and verified; one that cannot be read is none."""
    stored = cast("dict[bytes, bytes]", client.hgetall(status_key(project)))
    status = {}
    for view, text in stored.items():
        with suppress(ValueError, KeyError, TypeError, UsageError):
            status[view.decode()] = _parse(text)
    return status


def write_status(client: Client, project: str, status: dict[str, ViewStatus]) -> None:
    """Write the status of these views; the others stay as they are."""
    client.hset(status_key(project), mapping={view: _render(entry) for view, entry in status.items()})


def remove_status(client: Client, project: str, views: list[str]) -> None:
    """Forget these views."""
    client.hdel(status_key(project), *views)


def _render(entry: ViewStatus) -> str:
    record = {
        "watermark": isoformat(entry.watermark),
        "rows": entry.rows,
        "started_at": isoformat(entry.started_at),
        "finished_at": isoformat(entry.finished_at),
        "features": entry.features,
        "retired": entry.retired,
        "previous_rows": entry.previous_rows,
        "run_id": entry.run_id,
        "left_out_rows": entry.left_out_rows,
        "defaulted_elements": entry.defaulted_elements,
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def _parse(text: bytes) -> ViewStatus:
    record = json.loads(text)
    return ViewStatus(
        watermark=parse_instant(record["watermark"]),
        rows=record["rows"],
        started_at=parse_instant(record["started_at"]),
        finished_at=parse_instant(record["finished_at"]),
        features=dict(record["features"]),
        retired=list(record["retired"]),
        previous_rows=record.get("previous_rows"),  # a release before wrote none
        run_id=record.get("run_id"),
        left_out_rows=record.get("left_out_rows", 0),
        defaulted_elements=record.get("defaulted_elements", 0),
    )
