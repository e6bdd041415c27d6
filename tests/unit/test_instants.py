"""Instants: UTC everywhere, whatever is read."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import UsageError
from jobs.instants import isoformat, parse_instant, utc_now


@pytest.mark.parametrize(
    "text", ["", "January", "2024-13-01", "2024-02-30", "31.01.2024", "1706659200", "2024-01-31T25:00", "2024-01-31Z"]
)
def test_what_is_no_instant_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(UsageError, match="is not an instant; write a date like 2024-01-31 or ISO 8601") as refused:
        parse_instant(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_an_offset_that_leads_out_of_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an instant"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-01-31T06:30:00", datetime(2024, 1, 31, 6, 30, tzinfo=UTC)),
        ("2024-01-31T06:30:00Z", datetime(2024, 1, 31, 6, 30, tzinfo=UTC)),
        ("2024-01-31T06:30:00+02:00", datetime(2024, 1, 31, 4, 30, tzinfo=UTC)),
        ("2024-01-31T23:30:00.000001-01:00", datetime(2024, 2, 1, 0, 30, 0, 1, tzinfo=UTC)),
    ],
)
def test_a_bare_date_is_midnight_utc_and_an_offset_is_taken_off(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC


def test_the_clock_of_the_machine_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert isoformat(parse_instant("2024-01-31")) == "2024-01-31T00:00:00Z"
        assert utc_now().utcoffset() == timedelta(0)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_z_is_written_and_a_fraction_only_where_there_is_one() -> None:
    assert isoformat(datetime(2024, 1, 31, tzinfo=UTC)) == "2024-01-31T00:00:00Z"
    assert isoformat(datetime(2024, 1, 31, 0, 0, 0, 250, tzinfo=UTC)) == "2024-01-31T00:00:00.000250Z"
    assert isoformat(datetime(2024, 1, 31, 2, tzinfo=timezone(timedelta(hours=2)))) == "2024-01-31T00:00:00Z"


@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_what_is_written_reads_back_as_the_same_instant(instant: datetime) -> None:
    assert parse_instant(isoformat(instant)) == instant
    assert isoformat(instant).endswith("Z")
