"""Working ahead in a thread changes nothing of what comes, but for when."""

import threading
from collections.abc import Generator

import pytest

from jobs.background import ahead_of


def numbers(count: int, made: list[int] | None = None, closed: list[bool] | None = None) -> Generator[int, None, None]:
    try:
        for number in range(count):
            if made is not None:
                made.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(True)


def test_everything_comes_in_its_order() -> None:
    with ahead_of(numbers(100), 2) as items:
        assert list(items) == list(range(100))


def test_what_the_generator_raises_is_raised_where_its_items_are_awaited() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ValueError("no more")

    found: list[int] = []
    with pytest.raises(ValueError, match="no more"), ahead_of(failing(), 2) as items:
        found += items  # one by one
    assert found == [1]


def test_no_more_is_made_ahead_than_agreed() -> None:
    made: list[int] = []
    with ahead_of(numbers(1000, made), 2) as items:
        for item in items:
            assert made[-1] <= item + 4, "two wait, one is being handed over, one is being made"


def test_a_block_that_is_left_early_ends_the_thread_and_closes_the_generator() -> None:
    closed: list[bool] = []
    before = threading.active_count()
    with ahead_of(numbers(1000, closed=closed), 2) as items:
        next(items)
    assert closed == [True]
    assert threading.active_count() == before


def test_an_error_in_the_block_ends_what_the_thread_waits_for() -> None:
    released = threading.Event()

    def waiting() -> Generator[int, None, None]:
        yield 1
        assert released.wait(60)

    with pytest.raises(KeyError), ahead_of(waiting(), 2, cancel=released.set) as items:
        _fail_after(next(items))
    assert released.is_set()


def _fail_after(item: int) -> None:
    raise KeyError(item)
