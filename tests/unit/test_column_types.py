"""Which column types fit which Feast types."""

import pytest

from jobs.column_types import Fit, PostgresType, accepted, fits
from jobs.online.encoding import KEY_TYPES, VALUE_TYPES

NUMBERS = ["INT32", "INT64", "FLOAT", "DOUBLE"]


@pytest.mark.parametrize("value_type", sorted(VALUE_TYPES | KEY_TYPES))
def test_every_type_that_can_be_served_says_of_every_column_type_how_it_fits(value_type: str) -> None:
    assert fits(value_type, PostgresType("point")) is (Fit.EXACT if value_type == "STRING" else Fit.REFUSED)
    assert accepted(value_type)


@pytest.mark.parametrize("value_type", [*NUMBERS, "BOOL", "UNIX_TIMESTAMP", "BYTES"])
@pytest.mark.parametrize("column", ["text", "character varying", "character", "json", "uuid", "money", "interval"])
def test_numbers_times_and_booleans_over_text_are_refused(value_type: str, column: str) -> None:
    assert fits(value_type, PostgresType(column)) is Fit.REFUSED


@pytest.mark.parametrize(
    ("value_type", "column", "fit"),
    [
        ("INT64", "bigint", Fit.EXACT),
        ("INT32", "smallint", Fit.EXACT),
        ("INT32", "bigint", Fit.CHECKED),
        ("INT64", "numeric", Fit.CHECKED),
        ("INT64", "double precision", Fit.CHECKED),
        ("FLOAT", "double precision", Fit.CHECKED),
        ("FLOAT", "numeric", Fit.CHECKED),
        ("DOUBLE", "real", Fit.EXACT),
        ("DOUBLE", "bigint", Fit.CHECKED),
        ("BOOL", "integer", Fit.REFUSED),
        ("INT64", "boolean", Fit.REFUSED),
        ("UNIX_TIMESTAMP", "bigint", Fit.REFUSED),
        ("INT64", "timestamp with time zone", Fit.REFUSED),
        ("UNIX_TIMESTAMP", "date", Fit.EXACT),
    ],
)
def test_wider_numbers_are_checked_by_value_and_other_kinds_refused(value_type: str, column: str, fit: Fit) -> None:
    assert fits(value_type, PostgresType(column)) is fit


def test_a_list_needs_an_array_whose_elements_fit() -> None:
    assert fits("INT64_LIST", PostgresType("bigint[]", "bigint")) is Fit.EXACT
    assert fits("INT32_LIST", PostgresType("bigint[]", "bigint")) is Fit.CHECKED
    assert fits("INT64_LIST", PostgresType("text[]", "text")) is Fit.REFUSED
    assert fits("STRING_LIST", PostgresType("text")) is Fit.REFUSED
    assert fits("STRING_LIST", PostgresType("uuid[]", "uuid")) is Fit.EXACT
    assert fits("INT64", PostgresType("bigint[]", "bigint")) is Fit.REFUSED
