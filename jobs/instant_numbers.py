"""Instants as numbers, which Arrow and numpy compare: microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.row_numbers import Numbers

TIMESTAMP = pa.timestamp("us", "UTC")
FOREVER = np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Postgres' infinity as the driver gives it: one less than its -infinity, by an overflow.
_INFINITY = np.iinfo(np.int64).min + 946_684_800_000_000 - 1


def instant_numbers(column: pa.ChunkedArray) -> Numbers:
    """Of a column of instants; FOREVER for Postgres' infinity, the least number for NULL."""
    numbers: Numbers = pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
    return np.where(numbers == _INFINITY, FOREVER, numbers)


def microseconds(duration: timedelta) -> int:
    """A duration as a number."""
    return duration // timedelta(microseconds=1)


def instant_number(instant: datetime) -> int:
    """One instant."""
    return microseconds(instant - _EPOCH)
