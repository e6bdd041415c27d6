"""What a million rows cost, in CPU seconds of each part: of these one calculates what more machines would do."""

from dataclasses import dataclass

from tests.bench.engine_figures import Figures
from tests.bench.engine_sides import FEW_PARTITIONS, JOB, MANY_PARTITIONS, partitioned

_MILLION = 1_000_000


@dataclass(frozen=True)
class Costs:
    """CPU seconds for a million rows."""

    postgres: float
    """To find the row that counts, join it, and sum up the digest."""
    job: float
    """To encode and to prove."""
    redis: float
    """To write and to read back."""
    partition: float
    """Of Postgres, for each partition, for a million rows in reach, of which it looks at all."""

    def told(self) -> str:
        """One line."""
        return (
            f"CPU seconds for a million rows: Postgres {self.postgres:.2f}, {JOB} {self.job:.2f}, "
            f"Redis {self.redis:.2f}; Postgres for a million rows in reach of each partition {self.partition:.2f}"
        )


def of_size(figures: Figures, larger: Figures, rows_in_reach: int) -> Costs:
    """From the growth of one size to a larger one, so that no start counts; `rows_in_reach` are the larger one's."""
    ours, more = figures[JOB], larger[JOB]
    few, many = (larger[partitioned(count)] for count in (FEW_PARTITIONS, MANY_PARTITIONS))
    millions = (more.rows - ours.rows) / _MILLION
    scans = (MANY_PARTITIONS - FEW_PARTITIONS) * rows_in_reach / _MILLION
    return Costs(
        postgres=(more.postgres_seconds - ours.postgres_seconds) / millions,
        job=(more.cpu_seconds - ours.cpu_seconds) / millions,
        redis=(more.redis_seconds - ours.redis_seconds) / millions,
        partition=(many.postgres_seconds - few.postgres_seconds) / scans,
    )
