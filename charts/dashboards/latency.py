"""How long do answers take, where does the time go, and how near is the limit."""

from charts.dashboards.model import Dashboard, Panel, Query, Row
from charts.dashboards.panels import graph, heatmap, rising
from charts.dashboards.series import CALLS, DURATION, FEATURE_SERVER, GATEWAY, READS, REQUESTS, quantile, rate

ONLINE_READ = "feature_gateway_online_read_duration_seconds"
ON_DEMAND = "feature_gateway_feature_server_duration_seconds"
FEAST_LATENCY = "feast_feature_server_request_latency_seconds"
NO_READS = "no reads"


def _quantile(number: int, share: float, title: str, description: str) -> Panel:
    query = Query(quantile(share, DURATION, READS, "route"), "{{route}}")
    return graph(number, title, description, "s", query, nothing=NO_READS, width=8)


def _per_read(seconds: str) -> str:
    """Seconds in a second, as seconds per read."""
    return f"clamp_min({seconds}, 0) / ({rate(f'{DURATION}_count', READS)} > 0)"


READING, WAITING = rate(f"{ONLINE_READ}_sum", GATEWAY), rate(f"{ON_DEMAND}_sum", GATEWAY)

DURATIONS = Row(
    100,
    "How long do reads take?",
    [
        _quantile(
            1,
            0.5,
            "Half of the reads take less than (p50)",
            "Per route, over all pods. About a millisecond is usual for one entity; a batch takes longer.",
        ),
        _quantile(
            2,
            0.95,
            "95 % of the reads take less than (p95)",
            "Per route. Far from the median: a pod without CPU, a Redis that is busy, or large batches.",
        ),
        _quantile(
            3,
            0.99,
            "99 % of the reads take less than (p99)",
            "Per route. With few reads this is about the slowest one. Values between two bounds of the histogram "
            "(10, 25, 50 ms) are interpolated.",
        ),
        heatmap(
            4,
            "How are the durations of reads spread?",
            "Reads a second in each bucket; the dark band is where most are. Two bands are two kinds of reads, or "
            "one slow pod.",
            "s",
            rate(f"{DURATION}_bucket", READS, "le"),
        ),
        graph(
            5,
            "Where does the time of a read go?",
            "Means per read, which add up to the whole. The gateway's own share grows when it lacks CPU; the online "
            "store's, when Redis is busy or far away; the feature server is asked for on-demand features alone.",
            "s",
            Query(_per_read(f"{rate(f'{DURATION}_sum', READS)} - {READING} - {WAITING}"), "gateway"),
            Query(_per_read(READING), "online store"),
            Query(_per_read(WAITING), "feature server"),
            nothing=NO_READS,
            stacked=True,
        ),
    ],
)
LOAD = Row(
    101,
    "Who asks for what?",
    [
        graph(
            6,
            "What is asked?",
            "Requests a second by route, probes apart.",
            "reqps",
            Query(rate(REQUESTS, CALLS, "route"), "{{route}}"),
            nothing="no requests",
            stacked=True,
            width=8,
        ),
        graph(
            7,
            "What is answered?",
            "Requests a second by code, probes apart. 404 are unknown entities, 412 values that are too "
            "old for the caller, 422 wrong requests, 499 callers who went away, 5xx failures.",
            "reqps",
            Query(rate(REQUESTS, CALLS, "code"), "{{code}}"),
            nothing="no requests",
            stacked=True,
            width=8,
        ),
        graph(
            8,
            "How long does the gateway wait for others?",
            "99 % of its waits are shorter. It gives Redis up after 250 ms, which stands here as 250 to 500 ms.",
            "s",
            Query(quantile(0.99, ONLINE_READ, GATEWAY), "online store"),
            Query(quantile(0.99, ON_DEMAND, GATEWAY), "feature server"),
            nothing=NO_READS,
            width=8,
        ),
    ],
)
LIMITS = Row(
    102,
    "How near is the limit?",
    [
        graph(
            9,
            "How many requests are being answered?",
            "In flight at the scrape, per gateway. A line that climbs and stays says that answers come slower than "
            "requests.",
            "none",
            Query(f"feature_gateway_in_flight_requests{{{GATEWAY}}}", "{{instance}}"),
            width=8,
            decimals=0,
        ),
        graph(
            10,
            "How busy is each gateway?",
            "CPU seconds a second. A gateway is one process: at 1 it can no more, from about 0.7 on latency grows. "
            "More replicas help (gateway.replicas, gateway.autoscaling).",
            "percentunit",
            Query(rate("process_cpu_seconds_total", GATEWAY, "instance"), "{{instance}}"),
            limits=rising(0.7, 1),
            width=8,
        ),
        graph(
            11,
            "How much memory does each gateway take?",
            "Resident memory. It is about 70 MB and does not grow with load; a line that only climbs ends at "
            "gateway.resources.limits.memory.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{GATEWAY}}}", "{{instance}}"),
            width=8,
        ),
    ],
)
FEAST = Row(
    103,
    "Feast's feature server",
    [
        graph(
            12,
            "What is the feature server asked?",
            "Requests a second by endpoint and outcome, as Feast counts them. /push or /write-to-online-store means "
            "that somebody writes past the materialization.",
            "reqps",
            Query(
                rate("feast_feature_server_request_total", FEATURE_SERVER, "endpoint, status"),
                "{{endpoint}} {{status}}",
            ),
            nothing="its metrics are off, or nobody asked",
            stacked=True,
        ),
        graph(
            13,
            "How long does the feature server take?",
            "99 % of its requests take less. One worker a pod: when it is slow and the gateway waits, more replicas "
            "help (featureServer.replicas).",
            "s",
            Query(quantile(0.99, FEAST_LATENCY, FEATURE_SERVER, "endpoint"), "{{endpoint}}"),
            nothing="its metrics are off, or nobody asked",
        ),
    ],
)

DASHBOARD = Dashboard(
    "latency",
    "Latency and load",
    "How long do reads take, where does the time go, who asks for what, and how near is the limit?",
    [DURATIONS, LOAD, LIMITS, FEAST],
)
