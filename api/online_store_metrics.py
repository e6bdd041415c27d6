"""What Prometheus reads of the online store and of what Redis tells of materializations: so also after a restart."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.instants import SECOND
from api.online_store import OnlineStore
from api.plan_watch import PlanWatch
from api.status import MaterializationStatus


class OnlineStoreCollector(Collector):
    """Gauges: of the store, per feature service, per feature view, and of the last run."""

    def __init__(self, store: OnlineStore, status: MaterializationStatus, plans: PlanWatch) -> None:
        self._store, self._status, self._plans = store, status, plans

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As it was seen last: the gateway looks every five seconds."""
        yield GaugeMetricFamily(
            "feature_gateway_online_store_reachable",
            "Whether the online store answered when it was asked last.",
            float(self._store.reached),
        )
        yield self._of_services()
        yield from self._of_views()
        yield from self._of_runs()

    def _of_services(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "feature_gateway_feature_service_servable",
            "Whether the feature service can be served; where it cannot, GET /status says why.",
            labels=["feature_service"],
        )
        if self._plans.ready:
            selector = self._plans.selector
            for name in selector.services:
                family.add_metric([name], 1)
            for name in selector.plan.problems:
                family.add_metric([name], 0)
        return family

    def _of_views(self) -> Iterator[GaugeMetricFamily]:
        views = self._status.views
        served = self._plans.selector.plan.feature_views if self._plans.ready else {}
        seen = {name: view.finished_at / SECOND for name, view in views.items()}
        yield _family(
            "watermark_timestamp_seconds",
            "The instant that the online store shows.",
            ((name, view.watermark / SECOND) for name, view in views.items()),
        )
        yield _family(
            "last_success_timestamp_seconds",
            "End of the last successful materialization; 0 for a view that is served and never had one.",
            (dict.fromkeys(served, 0.0) | seen).items(),
        )
        yield _family(
            "rows",
            "Rows that the last successful materialization left in the online store.",
            ((name, float(view.rows)) for name, view in views.items()),
        )
        yield _family(
            "previous_rows",
            "Rows that there were at the watermark before.",
            ((name, float(view.previous_rows)) for name, view in views.items() if view.previous_rows is not None),
        )
        yield _family(
            "left_out_rows",
            "Rows of the source that were left out because their key or a time is NULL.",
            ((name, float(view.left_out_rows)) for name, view in views.items()),
        )
        yield _family(
            "defaulted_elements",
            "NULLs in lists of the source that are served as their type's default.",
            ((name, float(view.defaulted_elements)) for name, view in views.items()),
        )
        yield _family(
            "duration_seconds",
            "Duration of the last successful materialization.",
            ((name, (view.finished_at - view.started_at) / SECOND) for name, view in views.items()),
        )
        yield _family(
            "ttl_seconds",
            "Age up to which the view's values are served.",
            ((name, view.ttl_seconds) for name, view in served.items() if view.ttl_seconds is not None),
        )

    def _of_runs(self) -> Iterator[GaugeMetricFamily]:
        history = self._status.history
        if history.last is not None and history.last.finished_at is not None:
            yield _single(
                "last_run_finished_timestamp_seconds", "End of the last run.", history.last.finished_at / SECOND
            )
            yield _single("last_run_exit_code", "0 if the last run that ended succeeded.", history.last.exit_code or 0)
        if history.unfinished is not None:
            yield _single(
                "unfinished_run_started_timestamp_seconds",
                "Start of the run that is at work now, or died without a word.",
                history.unfinished.started_at / SECOND,
            )


def _family(name: str, text: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"feature_materialization_{name}", text, labels=["feature_view"])
    for view, value in values:
        family.add_metric([view], value)
    return family


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"feature_materialization_{name}", text, value)
