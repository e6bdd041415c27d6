"""What Prometheus reads. Labels are bounded: route templates, known methods, views of the plan; never an id.

Counted in plain integers and made into metrics when Prometheus asks: prometheus_client's own counters take a lock for
each step, which is a microsecond per request and more.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from platform import python_version

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from api import VERSION
from api.instants import SECOND
from api.reader import Row
from api.selection import Selection
from api.status import MaterializationStatus

# 10 ms and 50 ms are the bounds of the service level objectives: they must be exact.
BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BOUNDS = [*map(floatToGoString, BUCKETS), "+Inf"]
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
Count = list[int]
"""One integer that is counted up in place."""


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


class Metrics:
    """Every metric of one gateway, in a registry of its own."""

    def __init__(self, status: MaterializationStatus) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Counted(self))
        self.registry.register(_Materialization(status))
        self.in_flight = 0
        self.online_read = Distribution()
        self.durations: dict[tuple[str, str], Distribution] = {}
        """By route and method."""
        self.requests: dict[tuple[str, str, int], Count] = {}
        """By route, method and code."""
        self.feature_values: dict[tuple[str, str], Count] = {}
        """By feature view and status."""

    def serve(self, host: str, port: int) -> int:
        """Answer scrapes from a thread of its own; the port. OSError if it cannot listen."""
        server, _ = start_http_server(port, host, self.registry)
        return server.server_port

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count an answered request; an unknown method is OTHER."""
        method = method if method in _METHODS else "OTHER"
        duration = self.durations.get((route, method))
        if duration is None:
            duration = self.durations[route, method] = Distribution()
        duration.observe(seconds)
        count = self.requests.get((route, method, code))
        if count is None:
            count = self.requests[route, method, code] = [0]
        count[0] += 1

    def value_count(self, view: str, status: str) -> Count:
        """The number of served values of a view with this status."""
        return self.feature_values.setdefault((view, status), [0])

    def values(self, selection: Selection, rows: Iterable[Row]) -> None:
        """Count the served values of these rows."""
        for row in rows:
            for asked, cell in zip(selection.asked, row.cells, strict=True):
                self.value_count(asked.view, cell.status)[0] += 1


class _Counted(Collector):
    """What was counted up to now. Copies are taken first: requests go on while Prometheus is answered."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield GaugeMetricFamily(
            "feature_gateway_in_flight_requests", "Requests that are being answered now.", metrics.in_flight
        )
        read = HistogramMetricFamily(
            "feature_gateway_online_read_duration_seconds", "Time that one request waits for the online store."
        )
        metrics.online_read.add_to(read, [])
        yield read
        durations = HistogramMetricFamily(
            "feature_gateway_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            labels=["route", "method"],
        )
        for labels, duration in list(metrics.durations.items()):
            duration.add_to(durations, list(labels))
        yield durations
        requests = CounterMetricFamily(
            "feature_gateway_http_requests", "Answered requests.", labels=["route", "method", "code"]
        )
        for (route, method, code), count in list(metrics.requests.items()):
            requests.add_metric([route, method, str(code)], count[0])
        yield requests
        served = CounterMetricFamily(
            "feature_gateway_feature_values",
            "Served feature values by what they were.",
            labels=["feature_view", "status"],
        )
        for labels, count in list(metrics.feature_values.items()):
            if count[0]:
                served.add_metric(list(labels), count[0])
        yield served
        build = GaugeMetricFamily(
            "feature_gateway_build_info", "Always 1; the labels tell.", labels=["version", "python"]
        )
        build.add_metric([VERSION, python_version()], 1)
        yield build


class _Materialization(Collector):
    """The status in the online store, as it was seen last: exactly the views that were materialized."""

    def __init__(self, status: MaterializationStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        views = self._status.views
        watermark = _family("watermark_timestamp_seconds", "The instant that the online store shows.")
        last_success = _family("last_success_timestamp_seconds", "End of the last successful materialization.")
        rows = _family("rows", "Rows that the last successful materialization left in the online store.")
        duration = _family("duration_seconds", "Duration of the last successful materialization.")
        for name, status in views.items():
            watermark.add_metric([name], status.watermark / SECOND)
            last_success.add_metric([name], status.finished_at / SECOND)
            rows.add_metric([name], status.rows)
            duration.add_metric([name], (status.finished_at - status.started_at) / SECOND)
        yield from (watermark, last_success, rows, duration)


def _family(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"feature_materialization_{name}", text, labels=["feature_view"])
