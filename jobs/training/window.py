"""Which instants a training set describes, and how far ahead of them its labels lie."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.errors import UsageError
from jobs.instants import isoformat

TOLERANCE = timedelta(days=3)
_HORIZON = re.compile(r"(?P<amount>\d{1,5})(?P<unit>mo|d)")


@dataclass(frozen=True)
class Horizon:
    """From an event timestamp to the instant that its label describes: whole months, days, or nothing."""

    text: str
    months: int
    days: int

    def target(self, instant: datetime) -> datetime:
        """`instant` and the horizon; months lead from a month's end to a month's end."""
        if self.months:
            month = instant.year * 12 + instant.month - 1 + self.months
            instant = _month_end(month // 12, month % 12 + 1)
        return instant + timedelta(days=self.days)

    @property
    def tolerance(self) -> timedelta:
        """How far a label may lie from the target; nothing when there is no horizon."""
        return TOLERANCE if self.months or self.days else timedelta()


@dataclass(frozen=True)
class LabelledInstant:
    """An event timestamp and the window, ends included, in which its labels lie."""

    event_timestamp: datetime
    target: datetime
    tolerance: timedelta


def parse_horizon(text: str) -> Horizon:
    """`1mo`, `30d` or `0`. Raises UsageError for anything else, also for days so few that a label could be older."""
    if text == "0":
        return Horizon(text, 0, 0)
    match = _HORIZON.fullmatch(text)
    if match is None:
        raise UsageError(f"--label-horizon {text!r} is not a horizon; write months like 1mo, days like 30d, or 0")
    amount = int(match["amount"])
    horizon = Horizon(text, amount, 0) if match["unit"] == "mo" else Horizon(text, 0, amount)
    if not horizon.months and timedelta(days=horizon.days) <= TOLERANCE:
        raise UsageError(
            f"--label-horizon {text} reaches back: a label may lie {TOLERANCE.days} days from the horizon, so write "
            "more days than that, or 0 for the labels of the same instant"
        )
    return horizon


def labelled_instants(start: datetime, end: datetime, horizon: Horizon) -> list[LabelledInstant]:
    """Every month's end (00:00 UTC of its last day) in the window, ends included.

    Raises UsageError when start is after end, when no month ends in between, or when a horizon leaves the calendar.
    """
    if start > end:
        raise UsageError(f"--start {isoformat(start)} is after --end {isoformat(end)}; exchange them")
    instants = [instant for instant in _month_ends(start, end) if start <= instant <= end]
    if not instants:
        raise UsageError(
            f"no month ends between --start {isoformat(start)} and --end {isoformat(end)}; "
            "widen the window so that it holds a month's last day, 00:00 UTC"
        )
    try:
        return [LabelledInstant(instant, horizon.target(instant), horizon.tolerance) for instant in instants]
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--label-horizon {horizon.text} leads past the year 9999; write a shorter one") from error


def _month_ends(start: datetime, end: datetime) -> Iterator[datetime]:
    for month in range(start.year * 12 + start.month - 1, end.year * 12 + end.month):
        yield _month_end(month // 12, month % 12 + 1)


def _month_end(year: int, month: int) -> datetime:
    return datetime(year, month, calendar.monthrange(year, month)[1], tzinfo=UTC)
