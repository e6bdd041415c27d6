"""What the serving benchmark saw, case by case, as tables."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench import wrk
from tests.bench.tally import Tally

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Case:
    """Requests to a server at a number of connections."""

    server: str
    call: str
    connections: int

    def __str__(self) -> str:
        return f"{self.server}, {self.call}, {self.connections}"


@dataclass
class Figures:
    """What was seen of a case, one entry a round; seconds."""

    loads: list[wrk.Load] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """Per request."""

    @property
    def per_second(self) -> float:
        """Median of requests a second."""
        return statistics.median(load.per_second for load in self.loads)

    @property
    def p50(self) -> float:
        """Median of the rounds' medians."""
        return statistics.median(load.p50 for load in self.loads)

    @property
    def p99(self) -> float:
        """Median of the rounds' 99th percentiles."""
        return statistics.median(load.p99 for load in self.loads)

    @property
    def cpu(self) -> float:
        """Median CPU time of a request."""
        return statistics.median(self.cpu_seconds)


def print_table(figures: Mapping[Case, Figures], peaks: Mapping[str, int]) -> None:
    """By call, from the fastest to the slowest; `peaks`: the most memory of each server, in bytes."""
    print(
        f"{'server':24} {'call':9} {'conns':>5} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>7} {'peak MB':>8}"
    )
    for case in sorted(figures, key=lambda case: (case.call, case.connections, -figures[case].per_second)):
        found = figures[case]
        print(
            f"{case.server:24} {case.call:9} {case.connections:5} {found.per_second:8,.0f} {found.p50 * 1e3:8.3f} "
            f"{found.p99 * 1e3:8.3f} {found.cpu * 1e6:7.0f} {peaks[case.server] / MEGABYTE:8.0f}"
        )


def print_schedule(scheduled: Mapping[tuple[str, int], Tally]) -> None:
    """By server and requests a second."""
    print(f"\n{'on schedule':24} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'failed':>7}")
    for (server, rate), tally in scheduled.items():
        shown = " ".join(f"{tally.percentile(percent) * 1e3:8.3f}" for percent in (50, 99, 99.9))
        print(f"{server:24} {rate:8,} {shown} {tally.failed:8}")
