"""Instants are UTC everywhere; a bare date means 00:00 UTC of that day."""

from datetime import UTC, datetime, timedelta

from jobs.errors import UsageError


def parse_instant(text: str) -> datetime:
    """The instant that `text` names: `2024-01-31` or ISO 8601, without an offset taken as UTC.

    Raises UsageError when it is neither.
    """
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # an offset can lead out of the years 1 to 9999
        raise UsageError(
            f"{text!r} is not an instant; write a date like 2024-01-31 or ISO 8601 like 2024-01-31T06:00:00Z"
        ) from error


def earlier(instant: datetime, duration: timedelta) -> datetime | None:
    """The instant so long before; None for one before the year 1, which is before everything."""
    try:
        return instant - duration
    except OverflowError:
        return None


def isoformat(instant: datetime) -> str:
    """`2024-01-31T00:00:00Z`; a fraction of a second is written only where there is one."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
