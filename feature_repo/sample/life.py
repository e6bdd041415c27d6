"""What happens to a population from month to month: usage, payments, tickets, leaving and joining. All seeded."""

import numpy as np

from feature_repo.sample import telco
from feature_repo.sample.ids import IdSource
from feature_repo.sample.telco import Array, Population

Random = np.random.Generator

WATCH_SD = 5.0
WATCH_MEMORY = 0.85
"""How much of a customer's deviation from the expected watch hours is still there a month later."""
WINDOW_MONTHS = 3
"""Payments and tickets are counted over 90 days: the sum of three months, so neighbouring months share two of them."""
FAILED_PER_WINDOW = 0.16
TICKETS_PER_WINDOW = 0.3
PLAN_CHANGE_SHARE = 0.01
PLAN_CENTS = 995
DSL, NO_INTERNET = telco.NET_SERVICES.index("DSL"), telco.NET_SERVICES.index("No")
# Leavers that are made up for, and growth on top: the population keeps about its size.
REPLACED_SHARE, GROWTH_SHARE = 0.85, 0.01
NEWCOMER_MONTHS = 6


def take(population: Population, rows: Array) -> Population:
    """The customers at `rows` (a mask or positions)."""
    return {name: values[rows] for name, values in population.items()}


def concat(first: Population, second: Population) -> Population:
    """The customers of both, in that order."""
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def month_zero(customers: int, known: Population, new_ids: IdSource, random: Random) -> Population:
    """The first `customers` of the Telco data; where these are too few, the rest are like randomly drawn ones."""
    count = len(known["id"])
    drawn = random.integers(count, size=max(0, customers - count))
    extra = take(known, drawn) | {"id": new_ids.take(len(drawn))}
    return _with_first_usage(concat(take(known, np.arange(min(customers, count))), extra), random)


def next_month(population: Population, month: int, known: Population, new_ids: IdSource, random: Random) -> Population:
    """A month later: those who left are gone, the others a month older, new ones have joined, some decide to leave."""
    stayed = take(population, ~population["left"])
    joined = _newcomers(population, known, new_ids, random)
    population = concat(_aged(stayed, month, random), _with_first_usage(joined, random))
    return population | {"left": random.random(len(population["id"])) < churn_probability(population)}


def churn_probability(population: Population) -> Array:
    """The logistic model by which customers leave, in 0..1 per month."""
    contract = np.array([0.9, -0.6, -1.6])[population["contract"]]
    usage = population["watch"] - _expected_watch(population)
    score = (
        -3.3
        + contract
        - 0.03 * np.minimum(population["months"], 48)
        + 0.02 * (population["fee"] / 100 - 65)
        - 0.12 * usage
        + 0.8 * np.minimum(population["failed"].sum(axis=1), 3)
        + 0.5 * np.minimum(population["tickets"].sum(axis=1), 3)
    )
    probability: Array = 1 / (1 + np.exp(-score))
    return probability


def _newcomers(population: Population, known: Population, new_ids: IdSource, random: Random) -> Population:
    count = int(np.ceil(REPLACED_SHARE * population["left"].sum() + GROWTH_SHARE * len(population["id"])))
    recent = np.flatnonzero(known["months"] <= NEWCOMER_MONTHS)
    joined = take(known, random.choice(recent, size=count))
    nothing_yet = np.zeros(count, dtype=np.int64)
    return joined | {"id": new_ids.take(count), "months": nothing_yet, "paid": nothing_yet}


def _with_first_usage(population: Population, random: Random) -> Population:
    """Adds usage, payments and tickets to customers of whom only the attributes are known."""
    count = len(population["id"])
    deviation = random.normal(0, WATCH_SD, count)
    tickets = random.poisson(TICKETS_PER_WINDOW / WINDOW_MONTHS, (count, WINDOW_MONTHS))
    return population | {
        "signup_day": random.integers(28, size=count),
        "deviation": deviation,
        "watch": np.maximum(0, _expected_watch(population) + deviation),
        "devices": random.integers(1, 4, count),
        "failed": random.poisson(FAILED_PER_WINDOW / WINDOW_MONTHS, (count, WINDOW_MONTHS)),
        "tickets": tickets,
        "resolution": _resolution_hours(count, random),
        **_sessions(population, random),
    }


def _aged(population: Population, month: int, random: Random) -> Population:
    population = _changed_plans(population, random)
    count = len(population["id"])
    deviation = WATCH_MEMORY * population["deviation"] + random.normal(
        0, WATCH_SD * np.sqrt(1 - WATCH_MEMORY**2), count
    )
    season = 2 * np.sin(2 * np.pi * month / 12)
    devices = np.where(random.random(count) < 0.1, random.integers(1, 4, count), population["devices"])
    tickets = _rolled(population["tickets"], TICKETS_PER_WINDOW, random)
    same_tickets = (tickets == population["tickets"]).all(axis=1)
    return population | {
        "months": population["months"] + 1,
        "paid": population["paid"] + population["fee"],
        "deviation": deviation,
        "watch": np.maximum(0, _expected_watch(population) + season + deviation),
        "devices": devices,
        "failed": _rolled(population["failed"], FAILED_PER_WINDOW, random),
        "tickets": tickets,
        "resolution": np.where(same_tickets, population["resolution"], _resolution_hours(count, random)),
        **_sessions(population, random),
    }


def _changed_plans(population: Population, random: Random) -> Population:
    """A few customers with internet take or drop the television plan, and their fee follows."""
    changes = (random.random(len(population["id"])) < PLAN_CHANGE_SHARE) & (population["net"] != NO_INTERNET)
    stream_tv = np.where(changes, 1 - population["stream_tv"], population["stream_tv"]).astype(np.int8)
    return population | {
        "stream_tv": stream_tv,
        "fee": population["fee"] + PLAN_CENTS * (stream_tv.astype(np.int64) - population["stream_tv"]),
    }


def _expected_watch(population: Population) -> Array:
    expected: Array = 20 + 0.15 * population["fee"] / 100
    return expected


def _sessions(population: Population, random: Random) -> Population:
    count = len(population["id"])
    return {
        "session": np.maximum(1, random.normal(35, 8, count)),
        "skips": random.poisson(5, count),
        "rebuffers": random.poisson(2 + (population["net"] == DSL)),
    }


def _rolled(window: Array, per_window: float, random: Random) -> Array:
    newest = random.poisson(per_window / WINDOW_MONTHS, (len(window), 1))
    return np.concatenate([window[:, 1:], newest], axis=1)


def _resolution_hours(count: int, random: Random) -> Array:
    return np.maximum(1, random.normal(10, 4, count))
