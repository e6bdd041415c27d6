"""How long things took, as a histogram for Prometheus that costs nanoseconds to fill."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

# 10 ms and 50 ms are the bounds of the service level objectives: they must be exact.
BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BOUNDS = [*map(floatToGoString, BUCKETS), "+Inf"]


class Distribution:
    """How many durations fell into each bucket."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * len(_BOUNDS), 0.0

    def observe(self, seconds: float) -> None:
        """Count one; a bucket holds its upper bound."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Add it as one series."""
        buckets = list(zip(_BOUNDS, accumulate(self.counts), strict=True))
        family.add_metric(labels, buckets, self.total)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The duration, in seconds, that this share of those counted does not exceed; None if none was counted.

    `counts` has one entry a bucket. Durations are taken as evenly spread within their bucket, and as the last bound
    above it: what Prometheus' histogram_quantile does.
    """
    rank, below = share * sum(counts), 0
    if not rank:
        return None
    for lower, upper, count in zip((0.0, *BUCKETS), BUCKETS, counts, strict=False):
        if below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return BUCKETS[-1]
