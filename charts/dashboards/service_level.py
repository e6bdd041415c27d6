"""Is the promise kept: requests are answered, and in time."""

from collections.abc import Callable
from functools import partial

from charts.dashboards.model import Dashboard, Json, Panel, Query, Row
from charts.dashboards.panels import GREEN, RED, falling, graph, stat, steps, timeline
from charts.dashboards.series import CALLS, DURATION, GATEWAY, ONE_ENTITY, RANGE, REQUESTS, rate

NO_REQUESTS = "no requests"
# Objectives in percent, bounds in seconds as the histogram's buckets have them.
CONSTANTS = {
    "availability": "99.9", "typical": "99", "typical_seconds": "0.01", "tail": "99.9", "tail_seconds": "0.05",
}  # fmt: skip
# The Site Reliability Workbook, chapter 5: two hundredths of a 30-day budget in an hour, a tenth in a day.
BURN: Json = steps(GREEN, (1, "yellow"), (3, "orange"), (14.4, RED))
BUDGET = falling(0, 0.25)
WINDOWS = ("5m", "1h", "2h", "1d")


def failed(window: str) -> str:
    """The share of requests that were answered with 5xx; nothing without requests."""
    errors = rate(REQUESTS, f'{CALLS},code=~"5.."', window=window)
    return f"({errors} or vector(0)) / ({rate(REQUESTS, CALLS, window=window)} > 0)"


def late(seconds: str, window: str) -> str:
    """The share of reads of one entity that took longer; nothing without reads."""
    within = rate(f"{DURATION}_bucket", f'{ONE_ENTITY},le="{seconds}"', window=window)
    return f"1 - {within} / ({rate(f'{DURATION}_count', ONE_ENTITY, window=window)} > 0)"


def burn(bad: str, objective: str) -> str:
    """How many times as fast as the objective allows the bad share uses the budget up."""
    return f"({bad}) / (1 - {objective} / 100)"


def _kept(number: int, title: str, description: str, bad: str) -> Panel:
    return stat(number, title, description, "percentunit", f"1 - ({bad})", nothing=NO_REQUESTS, decimals=3)


def _left(number: int, title: str, bad: str, objective: str) -> Panel:
    text = (
        "Of the bad answers that the objective allows among those of the dashboard's time range. Orange: less than a "
        "quarter is left. Red: the objective is missed."
    )
    expr = f"1 - {burn(bad, objective)}"
    return stat(number, title, text, "percentunit", expr, nothing=NO_REQUESTS, limits=BUDGET, decimals=1)


def _burned(number: int, title: str, objective: str, bad: Callable[[str], str]) -> Panel:
    text = (
        "1 uses up exactly the budget. 14.4 over an hour, in a 30-day budget, is 2 % of it in that hour: look at "
        "once. 3 over a day is 10 %: look today. A line above 1 that stays loses the objective. The short windows tell "
        "whether it goes on."
    )
    queries = [Query(burn(bad(window), objective), window) for window in WINDOWS]
    return graph(number, title, text, "none", *queries, nothing=NO_REQUESTS, limits=BURN, width=8, decimals=2)


KEPT = Row(
    100,
    "Is the promise kept?",
    [
        _kept(
            1,
            "Requests answered (objective $availability %)",
            "The share of requests, probes apart, that were not answered with 5xx, over the dashboard's time range.",
            failed(RANGE),
        ),
        _left(2, "Error budget left: answers", failed(RANGE), "$availability"),
        _kept(
            3,
            "Reads within $typical_seconds s (objective $typical %)",
            "The share of reads of one entity that took no longer, over the dashboard's time range.",
            late("$typical_seconds", RANGE),
        ),
        _left(4, "Error budget left: $typical_seconds s", late("$typical_seconds", RANGE), "$typical"),
        _kept(
            5,
            "Reads within $tail_seconds s (objective $tail %)",
            "The share of reads of one entity that took no longer, over the dashboard's time range.",
            late("$tail_seconds", RANGE),
        ),
        _left(6, "Error budget left: $tail_seconds s", late("$tail_seconds", RANGE), "$tail"),
    ],
)
BURNED = Row(
    101,
    "How fast does the error budget go?",
    [
        _burned(7, "Burn rate: answers", "$availability", failed),
        _burned(8, "Burn rate: reads within $typical_seconds s", "$typical", partial(late, "$typical_seconds")),
        _burned(9, "Burn rate: reads within $tail_seconds s", "$tail", partial(late, "$tail_seconds")),
    ],
)
WRONG = Row(
    102,
    "What goes wrong?",
    [
        graph(
            10,
            "Which requests fail, and how?",
            "Requests answered with 5xx. 503 is the online store or the feature server being away, or a view that "
            "was never materialized; 500 is a fault of the gateway, whose log tells.",
            "reqps",
            Query(rate(REQUESTS, f'{CALLS},code=~"5.."', "route, code"), "{{route}} {{code}}"),
            nothing="no request failed",
            stacked=True,
            width=8,
        ),
        timeline(
            11,
            "Does the online store answer?",
            "As each gateway saw Redis last, every five seconds. Red in all of them is Redis; in one, that pod's way "
            "to it.",
            Query(f"min by (instance) (feature_gateway_online_store_reachable{{{GATEWAY}}})", "{{instance}}"),
            {1: ("answers", GREEN), 0: ("does not answer", RED)},
            width=8,
        ),
        graph(
            12,
            "How many gateways are there?",
            "Gateways that Prometheus knows, and those that answered its last scrape. A gap between the two that "
            "stays is a pod that hangs, or a NetworkPolicy in Prometheus' way (networkPolicy.metricsFrom).",
            "none",
            Query(f"count(up{{{GATEWAY}}})", "known"),
            Query(f"sum(up{{{GATEWAY}}})", "answering"),
            width=8,
            decimals=0,
        ),
    ],
)

DASHBOARD = Dashboard(
    "service-level",
    "Service level",
    "Are requests answered, and in time? How much of the error budget is left, and how fast does it go?",
    [KEPT, BURNED, WRONG],
    since="now-7d",
    constants=CONSTANTS,
)
