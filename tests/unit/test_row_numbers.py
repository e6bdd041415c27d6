"""Rows as numbers: what is equal, and what is not."""

import pyarrow as pa
import pytest

from jobs.row_numbers import NOT_FOUND, RowNumbers


def test_equal_rows_have_the_same_number_and_others_another() -> None:
    shops, items = pa.chunked_array([["1", "12", "1"]]), pa.chunked_array([["23", "3", "23"]])
    numbers = RowNumbers([shops, items], 3, nulls_equal=False)
    assert numbers.numbers[0] == numbers.numbers[2] != numbers.numbers[1]
    others = [pa.chunked_array([["12", "1", "x"]]), pa.chunked_array([["3", "3", "23"]])]
    assert list(numbers.find(others, 3)) == [numbers.numbers[1], NOT_FOUND, NOT_FOUND]


@pytest.mark.parametrize("nulls_equal", [True, False])
def test_nan_is_nan_and_minus_nought_is_nought_and_null_is_null_where_that_is_asked_for(nulls_equal: bool) -> None:
    column = pa.chunked_array([pa.array([float("nan"), 0.0, None], pa.float64())])
    numbers = RowNumbers([column, column], 3, nulls_equal=nulls_equal)
    found = numbers.find([pa.chunked_array([pa.array([float("nan"), -0.0, None], pa.float64())])] * 2, 3)
    assert list(found) == list(numbers.numbers)
    assert len(set(numbers.numbers)) == 3
    assert (numbers.numbers[2] == NOT_FOUND) is not nulls_equal


def test_rows_without_columns_are_all_the_same() -> None:
    assert list(RowNumbers([], 2, nulls_equal=False).find([], 3)) == [0, 0, 0]
