"""What the engine benchmark asks for: ratios of its figures, each with its bar."""

import statistics
from collections.abc import Iterator

from tests.bench.engine_figures import Figures
from tests.bench.engine_sides import (
    COPY_FLOOR,
    HISTORY_BOUNDED,
    HISTORY_OURS,
    JOB,
    REDIS_FLOOR,
    REPEAT,
    STOCK_HISTORIES,
    STOCK_TUNED,
)
from tests.bench.figures import MEGABYTE
from tests.bench.ratios import Ratio


def of_materialization(figures: Figures) -> Iterator[Ratio]:
    """Our job against stock Feast as well as it can be set, the floors, and itself with nothing to do."""
    ours, stock, repeat = figures[JOB], figures[STOCK_TUNED], figures[REPEAT]
    floor = max(figures[name].started_seconds for name in (COPY_FLOOR, REDIS_FLOOR))
    yield Ratio(
        "materialization: rows a second once started, against tuned Feast",
        ours.rows_per_second / stock.rows_per_second,
        at_least=15,
    )
    yield Ratio("materialization: time against the slower floor", ours.started_seconds / floor, at_most=2.5)
    yield Ratio(
        "materialization: the whole command, against tuned Feast", stock.whole_seconds / ours.whole_seconds, at_least=8
    )
    yield Ratio("materialization: peak memory, MB", ours.peak_bytes / MEGABYTE, at_most=300)
    share = statistics.median(ours.verification)
    yield Ratio("materialization: time of verification against the load's", share, at_most=0.33)
    yield Ratio(
        "nothing new: the whole command, against the full load", ours.whole_seconds / repeat.whole_seconds, at_least=4
    )
    yield Ratio("nothing new: once started, against the full load", ours.started_seconds / repeat.started_seconds,
                at_least=4)  # fmt: skip


def of_history(figures: Figures) -> Iterator[Ratio]:
    """Our training rows against the best of stock Feast."""
    best = min((figures[name] for name in STOCK_HISTORIES), key=lambda side: side.started_seconds)
    bars = ((HISTORY_OURS, "training set", 6), (HISTORY_BOUNDED, "training set in bounded memory", 4))
    for name, what, at_least in bars:
        ours = figures[name]
        ratio = best.started_seconds / ours.started_seconds
        yield Ratio(f"{what}: to Parquet once started, against the best of Feast", ratio, at_least=at_least)
        yield Ratio(f"{what}: peak memory, MB", ours.peak_bytes / MEGABYTE, at_most=350)


def of_size(figures: Figures, larger: Figures) -> Iterator[Ratio]:
    """Our job at its largest against the size that is compared."""
    growth = larger[JOB].peak_bytes / figures[JOB].peak_bytes
    yield Ratio(f"materialization: peak memory of {larger[JOB].rows:,} rows against {figures[JOB].rows:,}", growth,
                at_most=1.1)  # fmt: skip
