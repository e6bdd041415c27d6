"""What counts as equal between an answer of the gateway and the offline store's row."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import answers, value
from api.reader import NULL_VALUE, PRESENT
from jobs.definitions import Feature, JoinKey, Service, ServiceFeature, SnapshotView
from jobs.instants import utc_now
from jobs.online.comparison import Comparison, ViewRows, counted, extremes
from jobs.online.gateway_client import Served
from jobs.online.served_value import as_served
from tests.feast_values import message

JANUARY = datetime(2024, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)
VIEW = SnapshotView(
    name="profile", join_keys=(JoinKey("user", "user", "STRING"),), relation="t", source="t", as_of_column="as_of",
    created_at_column=None, tombstone_column=None, ttl=45 * DAY, description="", owner="", tags={},
    features=(Feature("fee", "fee", "DOUBLE", "", {}), Feature("months", "months", "INT64", "", {})),
)  # fmt: skip
SERVICE = Service("s", tuple(ServiceFeature(name, name, "profile", name) for name in ("fee", "months")), "", "", {})
EXACT = {"fee": Served(29.85, PRESENT, JANUARY, timedelta()), "months": Served(None, NULL_VALUE, JANUARY, timedelta())}


def differences(served: dict[str, Served], asked_at: datetime | None = None, row: Any = (29.85, None)) -> list[str]:
    """What is said of the answer; the watermark is JANUARY, and so is the row's as_of."""
    rows = {} if row is None else {("ann",): (*row, JANUARY)}
    comparison = Comparison(SERVICE, {"profile": ViewRows(VIEW, JANUARY, rows)})
    comparison.add({"user": "ann"}, served, asked_at)
    return comparison.differences


def test_equal_values_instants_ages_and_statuses_are_no_difference() -> None:
    assert differences(EXACT) == []


@pytest.mark.parametrize(
    ("fee", "problem"),
    [
        (Served(29.86, PRESENT, JANUARY, timedelta()), "Postgres says 29.85, the gateway 29.86 (PRESENT)"),
        (Served("29.85", PRESENT, JANUARY, timedelta()), 'Postgres says 29.85, the gateway "29.85" (PRESENT)'),
        (Served(29.85, NULL_VALUE, JANUARY, timedelta()), "Postgres says 29.85, the gateway 29.85 (NULL_VALUE)"),
        (Served(None, NULL_VALUE, JANUARY, timedelta()), "Postgres says 29.85, the gateway null (NULL_VALUE)"),
        (
            Served(29.85, PRESENT, JANUARY - DAY, timedelta()),
            "Postgres says it is of 2024-01-31T00:00:00Z, the gateway 2024-01-30T00:00:00Z",
        ),
        (
            Served(None, "NOT_FOUND", None, None),
            "Postgres says it is of 2024-01-31T00:00:00Z, the gateway none",
        ),
        (Served(29.85, PRESENT, JANUARY, DAY), "its age is 0:00:00, the gateway says 1 day, 0:00:00"),
        (Served(29.85, PRESENT, JANUARY, None), "its age is 0:00:00, the gateway says None"),
    ],
)
def test_another_value_status_instant_or_age_is_a_difference(fee: Served, problem: str) -> None:
    assert differences({**EXACT, "fee": fee}) == [f"fee of ann: {problem}"]


def test_whole_numbers_and_fractions_are_told_apart() -> None:
    served = {**EXACT, "months": Served(1.0, PRESENT, JANUARY, timedelta())}
    assert differences(served, row=(29.85, 1)) == ["months of ann: Postgres says 1, the gateway 1.0 (PRESENT)"]


def test_features_that_are_missing_or_too_many_are_differences() -> None:
    served = {"fee": EXACT["fee"], "more": EXACT["fee"]}
    assert differences(served) == [
        "the gateway's answer has no months",
        "the gateway's answer has more, which the registry has not",
    ]


def test_without_a_row_there_must_be_nothing() -> None:
    nothing = dict.fromkeys(EXACT, Served(None, "NOT_FOUND", None, None))
    assert differences(nothing, row=None) == []
    served = {**nothing, "fee": EXACT["fee"]}
    assert differences(served, row=None) == ["fee of ann: Postgres holds no row, the gateway says 29.85 (PRESENT)"]


def test_what_is_older_than_its_ttl_must_be_hidden_and_nothing_else_may_be() -> None:
    now = utc_now()
    hidden = Served(None, "OUTSIDE_MAX_AGE", JANUARY, now - JANUARY)
    assert differences(dict.fromkeys(EXACT, hidden), now) == []
    shown = {"fee": Served(29.85, PRESENT, JANUARY, now - JANUARY), "months": hidden}
    assert differences(shown, now) == [
        "fee of ann: it is older than 45 days, 0:00:00, the gateway says 29.85 (PRESENT)"
    ]
    too_early = {**EXACT, "fee": Served(None, "OUTSIDE_MAX_AGE", JANUARY, timedelta())}
    assert differences(too_early) == ["fee of ann: Postgres says 29.85, the gateway null (OUTSIDE_MAX_AGE)"]


def test_a_value_that_is_as_old_as_its_ttl_is_shown() -> None:
    at = JANUARY + 45 * DAY
    served = {name: Served(one.value, one.status, JANUARY, 45 * DAY) for name, one in EXACT.items()}
    assert differences(served, at) == []


def test_an_age_from_now_may_be_off_by_the_clocks_of_two_machines_and_no_more() -> None:
    now = JANUARY + DAY
    for off, is_equal in ((timedelta(minutes=4), True), (timedelta(minutes=6), False)):
        served = {name: Served(one.value, one.status, JANUARY, DAY + off) for name, one in EXACT.items()}
        assert (differences(served, now) == []) is is_equal


def test_what_was_compared_is_told_in_one_line() -> None:
    service = Service("s", (*SERVICE.features, ServiceFeature("ratio", "ratio", "computed", "ratio")), "", "", {})
    comparison = Comparison(service, {"profile": ViewRows(VIEW, JANUARY, {("ann",): (29.85, None, JANUARY)})})
    hidden = Served(None, "OUTSIDE_MAX_AGE", JANUARY, 46 * DAY)
    comparison.add({"user": "ann"}, {"fee": hidden, "months": hidden, "ratio": hidden}, JANUARY + 46 * DAY)
    assert comparison.differences == []
    assert comparison.told(1, "http://g") == (
        "1 entity, 2 features of s through http://g equal Postgres (2 of 2 values are older than their ttl and "
        "therefore null; 1 feature computed on demand not compared)"
    )


def test_numbers_and_instants_read_well() -> None:
    assert [counted(1, "entity"), counted(2, "entity"), counted(1000, "feature")] == [
        "1 entity", "2 entities", "1,000 features"
    ]  # fmt: skip
    assert extremes([JANUARY, JANUARY]) == "2024-01-31T00:00:00Z"
    assert extremes([JANUARY, JANUARY - DAY]) == "2024-01-30T00:00:00Z to 2024-01-31T00:00:00Z"


FLOATS = st.floats() | st.sampled_from([0.1, 29.85, -0.0])
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
VALUES = st.one_of(
    st.tuples(st.just("INT64"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("INT32"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("DOUBLE"), FLOATS),
    st.tuples(st.just("FLOAT"), st.floats(width=32)),
    st.tuples(st.just("BOOL"), st.booleans()),
    st.tuples(st.just("STRING"), st.text(st.characters(exclude_categories=["Cs"]))),
    st.tuples(st.just("BYTES"), st.binary(min_size=1)),
    st.tuples(st.just("UNIX_TIMESTAMP"), INSTANTS),
    st.tuples(st.just("INT64_LIST"), st.lists(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just("DOUBLE_LIST"), st.lists(FLOATS)),
    st.tuples(st.just("STRING_LIST"), st.lists(st.text(st.characters(exclude_categories=["Cs"])))),
    st.tuples(st.just("BYTES_LIST"), st.lists(st.binary())),
    st.tuples(st.just("UNIX_TIMESTAMP_LIST"), st.lists(INSTANTS)),
    st.tuples(st.just("BOOL_LIST"), st.lists(st.booleans())),
    st.tuples(st.just("INT64"), st.none()),
)


@given(VALUES)
def test_a_value_is_expected_just_as_the_gateway_reads_it_back(case: tuple[str, Any]) -> None:
    kind, stored = case
    served = answers.plain(value.decode(message(kind, stored)))
    assert json.dumps(as_served(kind, stored)) == json.dumps(served)
