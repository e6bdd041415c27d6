"""Instants are UTC everywhere; a bare date means 00:00 UTC of that day."""

import re
from datetime import UTC, datetime, timedelta

from jobs.errors import UsageError

_DURATION = re.compile(r"(?P<amount>\d+)(?P<unit>[smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_instant(text: str) -> datetime:
    """The instant that `text` names: `2024-01-31` or ISO 8601, without an offset taken as UTC.

    Raises UsageError when it is neither.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an instant; write a date like 2024-01-31 or ISO 8601 like 2024-01-31T06:00:00Z"
        ) from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names: a whole number and one of s, m, h, d, like `45d`. Raises UsageError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a duration; write a whole number and a unit of s, m, h or d, like 45d")
    return timedelta(seconds=int(match["amount"]) * _UNIT_SECONDS[match["unit"]])


def isoformat(instant: datetime) -> str:
    """`2024-01-31T00:00:00Z`; a fraction of a second is written only where there is one."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
