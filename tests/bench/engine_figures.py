"""What the engine benchmark saw of each side, and as a table."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.events import Event
from tests.bench.figures import MEGABYTE


@dataclass
class SideFigures:
    """One entry a round; seconds and bytes."""

    rows: int
    whole: list[float] = field(default_factory=list)
    """Of the command, from the start of its process to its end."""
    started: list[float] = field(default_factory=list)
    """Without interpreter start, imports and the opening of the store."""
    cpu: list[float] = field(default_factory=list)
    """Of the command, without the servers' share: told, because on a busy machine the others are worth little."""
    postgres_cpu: list[float] = field(default_factory=list)
    """Of all processes of Postgres meanwhile."""
    redis_cpu: list[float] = field(default_factory=list)
    """Of Redis meanwhile."""
    peaks: list[int] = field(default_factory=list)
    verification: list[float] = field(default_factory=list)
    """Of our job alone: the time of verification against the time of the load."""

    @property
    def whole_seconds(self) -> float:
        """Median."""
        return statistics.median(self.whole)

    @property
    def started_seconds(self) -> float:
        """Median."""
        return statistics.median(self.started)

    @property
    def cpu_seconds(self) -> float:
        """Median of the command's own."""
        return statistics.median(self.cpu)

    @property
    def postgres_seconds(self) -> float:
        """Median of Postgres' CPU time."""
        return statistics.median(self.postgres_cpu)

    @property
    def redis_seconds(self) -> float:
        """Median of Redis' CPU time."""
        return statistics.median(self.redis_cpu)

    @property
    def rows_per_second(self) -> float:
        """Once started."""
        return self.rows / self.started_seconds

    @property
    def peak_bytes(self) -> int:
        """The most of all rounds."""
        return max(self.peaks)


Figures = Mapping[str, SideFigures]


def verification_share(events: list[Event]) -> float | None:
    """The time of verification, that of the end state included, against the rest of the load.

    As `verified` and `end_state_proven` tell; None where nothing was loaded.
    """
    told = [event.fields for event in events if event.name == "verified"]
    if not told:
        return None
    verifying = sum(fields["of_which_verifying"] for fields in told)
    at_the_end = sum(event.fields["seconds"] for event in events if event.name == "end_state_proven")
    return float((verifying + at_the_end) / (sum(fields["seconds"] for fields in told) - verifying))


def print_table(figures: Figures) -> None:
    """In the order given."""
    print(
        f"{'':34} {'rows':>9} {'rows/s':>9} {'started s':>9} {'whole s':>8} {'peak MB':>8} "
        f"{'CPU s':>7} {'Postgres':>9} {'Redis':>6}"
    )
    for name, found in figures.items():
        print(
            f"{name:34} {found.rows:9,} {found.rows_per_second:9,.0f} {found.started_seconds:9.2f} "
            f"{found.whole_seconds:8.2f} {found.peak_bytes / MEGABYTE:8.0f} {found.cpu_seconds:7.2f} "
            f"{found.postgres_seconds:9.2f} {found.redis_seconds:6.2f}"
        )
