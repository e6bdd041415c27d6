"""What Prometheus reads. Labels are bounded: route templates, known methods, views of the plan; never an id.

Counted in plain integers and made into metrics when Prometheus asks: prometheus_client's own counters take a lock for
each step, which is a microsecond per request and more.
"""

from collections.abc import Iterable, Iterator
from platform import python_version

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api import VERSION
from api.distribution import Distribution
from api.reader import Row
from api.selection import Selection

CLIENT_CLOSED_REQUEST = 499
"""The code that a caller who went away is counted as; nothing is sent."""
METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
EXPECTED_CODES = (200, 500, 503)
"""What a call that reads features is to be answered with, and what its failures are."""
Count = list[int]
"""One integer that is counted up in place."""


class Metrics:
    """Every metric of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Counted(self))
        self.in_flight = 0
        self.online_read = Distribution()
        self.feature_server = Distribution()
        self.durations: dict[tuple[str, str], Distribution] = {}
        """By route and method."""
        self.requests: dict[tuple[str, str, int], Count] = {}
        """By route, method and code."""
        self.feature_values: dict[tuple[str, str], Count] = {}
        """By feature view and status."""
        self.task_failures: dict[str, Count] = {}
        """By task."""

    def expect(self, route: str, method: str) -> None:
        """Show zeros of a call from the start: of a series that comes with failures, Prometheus sees no rise."""
        self.durations[route, method] = Distribution()
        for code in EXPECTED_CODES:
            self.requests[route, method, code] = [0]

    def serve(self, host: str, port: int) -> int:
        """Answer scrapes from a thread of its own; the port. OSError if it cannot listen."""
        server, _ = start_http_server(port, host, self.registry)
        return server.server_port

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count an answered request; an unknown method is OTHER."""
        method = method if method in METHODS else "OTHER"
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
        for name, text, distribution in (
            ("online_read", "Time that one request waits for the online store.", metrics.online_read),
            ("feature_server", "Time that one request waits for Feast's feature server.", metrics.feature_server),
        ):
            waits = HistogramMetricFamily(f"feature_gateway_{name}_duration_seconds", text)
            distribution.add_to(waits, [])
            yield waits
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
        failures = CounterMetricFamily(
            "feature_gateway_background_task_failures",
            "Failures of what goes on beside requests; each time it is started again.",
            labels=["task"],
        )
        for task, count in list(metrics.task_failures.items()):
            failures.add_metric([task], count[0])
        yield failures
        build = GaugeMetricFamily(
            "feature_gateway_build_info", "Always 1; the labels tell.", labels=["version", "python"]
        )
        build.add_metric([VERSION, python_version()], 1)
        yield build
