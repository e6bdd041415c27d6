"""Instants as nanoseconds since 1970-01-01T00:00:00Z, and their text."""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC) - _EPOCH, datetime.max.replace(tzinfo=UTC) - _EPOCH
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)


def now() -> int:
    """Read the clock."""
    return time.time_ns()


@lru_cache(512)
def to_text(instant: int) -> str:
    """RFC 3339 in UTC with no, 3, 6 or 9 fractional digits, as Feast's feature server writes it."""
    seconds, nanos = divmod(instant, SECOND)
    whole = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if nanos == 0:
        return f"{whole}Z"
    if nanos % 1_000_000 == 0:
        return f"{whole}.{nanos // 1_000_000:03d}Z"
    if nanos % 1_000 == 0:
        return f"{whole}.{nanos // 1_000:06d}Z"
    return f"{whole}.{nanos:09d}Z"


def from_text(text: str) -> int:
    """The instant in the years 1 to 9999 UTC that an ISO 8601 text with an offset names; ValueError for any other."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    since = parsed - _EPOCH
    if not _FIRST <= since <= _LAST:
        raise ValueError(f"{text!r} is in no year from 1 to 9999 UTC")
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000


def duration(text: str) -> int | None:
    """Nanoseconds of `90s`, `30m`, `12h`, `45d` or `2w`; None for any other text."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] * SECOND if match else None
