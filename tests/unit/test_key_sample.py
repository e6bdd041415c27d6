"""The entities whose end state is proven: drawn by chance, and equally from all partitions."""

import pyarrow as pa

from jobs.online.key_sample import SAMPLE, KeySample


def _seen(first: int, count: int, batch: int = 500) -> KeySample:
    sample = KeySample()
    for start in range(first, first + count, batch):
        numbers = range(start, min(start + batch, first + count))
        sample.see([pa.array(numbers), pa.array(map(str, numbers))])
    return sample


def test_all_are_drawn_where_there_are_few() -> None:
    assert sorted(_seen(0, SAMPLE).keys) == [(number, str(number)) for number in range(SAMPLE)]
    assert _seen(0, 0).keys == []


def test_of_many_so_many_different_ones_are_drawn_others_each_time() -> None:
    one, another = _seen(0, 20_000).keys, _seen(0, 20_000).keys
    assert len(set(one)) == len(set(another)) == SAMPLE
    assert set(one) != set(another)
    assert all(text == str(number) for number, text in one)


def test_partitions_and_early_and_late_batches_are_drawn_from_alike() -> None:
    parts = [_seen(0, 10_000), _seen(10_000, 30_000)]
    sample = KeySample()
    for part in parts:
        sample += part
    assert len(set(sample.keys)) == SAMPLE
    # A share of 1,000 drawn with p = 1/4 lies within ten standard deviations (13.7 each) of 250.
    for start in (0, 10_000, 20_000, 30_000):
        drawn = sum(start <= number < start + 10_000 for number, _ in sample.keys)
        assert 250 - 137 < drawn < 250 + 137
