"""The seeded generator of monthly exports; the same arguments give the same bytes."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np

from feature_repo.sample import ids, life, telco
from feature_repo.sample.export import Export, as_tables
from feature_repo.sample.telco import Array, Population

FIRST_MONTH_END = date(2024, 1, 31)
TELCO_CUSTOMERS = 7_043
MOST_CUSTOMERS = ids.MOST // 10
MOST_MONTHS = 1_200
DEFAULT_SEED = 7
LIFE_STREAM = 4
"""Any number but that of the ids' stream; with this one 7590-VHVEG, the documentation's customer, stays for a year."""
PATTERN_MONTHS = 6
LATE_DAYS = {3: 6}
"""Month of the pattern -> days after as_of on which it is delivered; the others take 1 to 3 days."""
CORRECTED_DAYS = {2: 5, 4: 16}
"""Month of the pattern -> days after as_of on which it is corrected: once within a grace of 7 days, once after it."""
FAULTY_SHARE = 0.02


def generate(
    months: int = 6,
    customers: int = TELCO_CUSTOMERS,
    start: date = FIRST_MONTH_END,
    seed: int = DEFAULT_SEED,
) -> Iterator[Export]:
    """Exports month by month in order of delivery, a month's correction right after the month.

    Month 0 is the Telco data at `start`; each later month follows from the one before, so more months do not change
    the earlier ones. Raises ValueError for arguments out of range.
    """
    _check(months, customers, start, seed)
    return _generate(months, customers, start, seed)


def _generate(months: int, customers: int, start: date, seed: int) -> Iterator[Export]:
    known = telco.attributes()
    new_ids = ids.IdSource(seed, taken=known["id"])
    before: Population = {}
    for month in range(months):
        random = np.random.default_rng([seed, LIFE_STREAM, month])
        if month == 0:
            population = life.month_zero(customers, known, new_ids, random)
        else:
            population = life.next_month(before, month, known, new_ids, random)
        yield from _deliveries(population, before, _month_end(start, month), month, random)
        before = population


def _deliveries(
    population: Population, before: Population, as_of: datetime, month: int, random: np.random.Generator
) -> Iterator[Export]:
    place = month % PATTERN_MONTHS
    days = LATE_DAYS.get(place, 1 + month % 2)
    minutes = int(random.integers(24 * 60))
    delivered_at = as_of + timedelta(days=days, minutes=minutes)
    if place not in CORRECTED_DAYS:
        yield Export(as_of, delivered_at, 0, as_tables(population, as_of))
        return
    yield Export(as_of, delivered_at, 0, as_tables(_faulty(population, before, random), as_of))
    corrected_at = as_of + timedelta(days=CORRECTED_DAYS[place], minutes=minutes)
    yield Export(as_of, corrected_at, 1, as_tables(population, as_of))


def _faulty(population: Population, before: Population, random: np.random.Generator) -> Population:
    """The population as a faulty first delivery shows it: some usage counted twice, and a few who left still listed."""
    twice = random.random(len(population["id"])) < FAULTY_SHARE
    faulty = population | {
        "watch": np.where(twice, 2 * population["watch"], population["watch"]),
        "rebuffers": np.where(twice, 2 * population["rebuffers"], population["rebuffers"]),
    }
    left: Array = np.flatnonzero(before["left"])
    return life.concat(faulty, life.take(before, left[: int(np.ceil(FAULTY_SHARE * len(left)))]))


def _month_end(start: date, months_later: int) -> datetime:
    years, month = divmod(start.month - 1 + months_later, 12)
    year, month = start.year + years, month + 1
    return datetime(year, month, monthrange(year, month)[1], tzinfo=UTC)


def _check(months: int, customers: int, start: date, seed: int) -> None:
    if not 1 <= months <= MOST_MONTHS:
        raise ValueError(f"months is {months}, must be between 1 and {MOST_MONTHS}")
    if not 1 <= customers <= MOST_CUSTOMERS:
        raise ValueError(f"customers is {customers}, must be between 1 and {MOST_CUSTOMERS}")
    if start.day != monthrange(start.year, start.month)[1]:
        raise ValueError(f"start is {start}, must be the last day of a month")
    if not 1900 <= start.year <= 2100:
        raise ValueError(f"start is {start}, must be within 1900 and 2100")
    if seed < 0:
        raise ValueError(f"seed is {seed}, must not be negative")
