"""What Prometheus reads. Labels are bounded: route templates, known methods, views of the plan; never an id."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from platform import python_version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api import VERSION
from api.instants import SECOND
from api.reader import Row
from api.selection import Selection
from api.status import MaterializationStatus

# 10 ms and 50 ms are the bounds of the service level objectives: they must be exact.
BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}


class Metrics:
    """Every metric of one gateway, in a registry of its own."""

    def __init__(self, status: MaterializationStatus) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.in_flight = Gauge(
            "feature_gateway_in_flight_requests", "Requests that are being answered now.", registry=registry
        )
        self.online_read = Histogram(
            "feature_gateway_online_read_duration_seconds",
            "Time that one request waits for the online store.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._duration = Histogram(
            "feature_gateway_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("route", "method"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "feature_gateway_http_requests", "Answered requests.", ("route", "method", "code"), registry=registry
        )
        self._values = Counter(
            "feature_gateway_feature_values",
            "Served feature values by what they were.",
            ("feature_view", "status"),
            registry=registry,
        )
        registry.register(_Materialization(status))
        build = Gauge(
            "feature_gateway_build_info", "Always 1; the labels tell.", ("version", "python"), registry=registry
        )
        build.labels(VERSION, python_version()).set(1)

    def serve(self, host: str, port: int) -> int:
        """Answer scrapes from a thread of its own; the port. OSError if it cannot listen."""
        server, _ = start_http_server(port, host, self.registry)
        return server.server_port

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count an answered request; an unknown method is OTHER."""
        method = method if method in _METHODS else "OTHER"
        self._duration.labels(route, method).observe(seconds)
        self._requests.labels(route, method, str(code)).inc()

    def values(self, selection: Selection, rows: Iterable[Row]) -> None:
        """Count the served values of these rows."""
        tally = Tally(
            (asked.view, cell.status) for row in rows for asked, cell in zip(selection.asked, row.cells, strict=True)
        )
        for labels, count in tally.items():
            self._values.labels(*labels).inc(count)


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
