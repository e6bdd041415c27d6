"""A hash of a value is the value's alone, wherever it stands, and another one for any other value."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from jobs.online.hashing import LONGEST_BYTES, hashes, mixed

VALUES = st.binary(max_size=2 * LONGEST_BYTES)


def _hash(value: bytes, place: int = 0) -> int:
    return int(hashes(pa.array([value], pa.binary()), place)[0])


@given(st.lists(VALUES, max_size=20), st.integers(0, 20))
def test_a_value_has_the_same_hash_alone_and_among_others(values: list[bytes], start: int) -> None:
    column = pa.array(values, pa.binary())
    assert hashes(column).tolist() == [_hash(value) for value in values]
    assert hashes(column[start:]).tolist() == [_hash(value) for value in values[start:]]


@given(VALUES, VALUES, st.integers(0, 100), st.integers(0, 100))
def test_other_values_and_other_places_have_other_hashes(one: bytes, other: bytes, place: int, elsewhere: int) -> None:
    assert (_hash(one, place) == _hash(other, elsewhere)) == ((one, place) == (other, elsewhere))


@given(st.binary(max_size=LONGEST_BYTES + 8), st.integers(1, 9))
def test_zeros_at_the_end_count(value: bytes, zeros: int) -> None:
    assert _hash(value) != _hash(value + bytes(zeros))


def test_values_that_differ_in_the_last_bytes_of_two_words_have_other_hashes() -> None:
    values = [bytes(7) + bytes([one]) + bytes(7) + bytes([other]) for one in range(256) for other in range(256)]
    assert len(set(hashes(pa.array(values, pa.binary())).tolist())) == len(values)


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=2, max_size=8, unique=True))
def test_sums_of_mixed_rows_change_when_two_rows_swap_their_values(values: list[bytes]) -> None:
    keys = hashes(pa.array([b"a%d" % number for number in range(len(values))], pa.binary()))
    swapped = [values[1], values[0], *values[2:]]
    sums = [mixed(keys + hashes(pa.array(column, pa.binary()), 1)).sum() for column in (values, swapped)]
    assert sums[0] != sums[1]
