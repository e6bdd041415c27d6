"""What Prometheus reads of Feast's feature server: Feast's own metrics, and those of its process.

Feast would serve them from one more process, always on port 8000 of every address, out of files that are never removed.
It has one worker here, which serves them itself, out of its memory.
"""

import os
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import MetricsHandler

from jobs.errors import UsageError

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

SCRAPE_SECONDS = 10.0


class _Handler(MetricsHandler):
    """Lets go of a caller who says nothing for so long."""

    timeout = SCRAPE_SECONDS


def serve_from_worker(store: "FeatureStore", host: str, port: int) -> None:
    """Count from now on; each worker that is forked later answers on the port. Raises UsageError if nobody can.

    The port is taken here, once: a worker that follows another finds it open.
    """
    _record(store)
    try:
        server = ThreadingHTTPServer((host, port), _Handler)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port} for metrics: {error.strerror or error}") from None
    server.daemon_threads = True

    def serve() -> None:
        from feast import metrics

        metrics.init_worker_monitoring()
        metrics.init_worker_freshness_monitoring(store)
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    os.register_at_fork(after_in_child=serve)


def _record(store: "FeatureStore") -> None:
    from feast import feature_server, metrics
    from feast.feature_server import bin_feature_count
    from feast.infra.feature_servers.base_config import MetricsConfig

    configuration = getattr(store.config.feature_server, "metrics", None) or MetricsConfig()
    counted = feature_server._resolve_feature_counts

    def bounded(features: "list[str] | FeatureService") -> tuple[str, str]:
        """Feast's label of how many views a request names takes any number that a caller makes up."""
        feature_count, view_count = counted(features)
        return feature_count, bin_feature_count(int(view_count), configuration.feature_count_bins)

    feature_server._resolve_feature_counts = bounded
    # Feast sets it as it starts its own process for metrics.
    metrics._config = metrics.build_metrics_flags(configuration)
