"""Instants of the gateway: whatever it reads, it can write again."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import instants


@given(st.datetimes(), st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)))
def test_an_instant_that_is_read_can_be_written_and_one_outside_of_the_calendar_is_refused(
    local: datetime, offset: timedelta
) -> None:
    text = local.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1)))).isoformat()
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="is in no year from 1 to 9999 UTC"):
            instants.from_text(text)
        return
    assert datetime.fromisoformat(instants.to_text(instants.from_text(text))) == instant


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-00:01"])
def test_the_minute_before_the_calendar_and_the_one_after_it_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is in no year from 1 to 9999 UTC"):
        instants.from_text(text)
