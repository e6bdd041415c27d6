"""`python -m jobs.feature_server`: Feast's own feature server, with the settings under which it stays up."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from jobs import feature_server_metrics, postgres
from jobs.errors import EXIT_DONE, JobError
from jobs.feast_store import import_feast_unchecked, open_store
from jobs.flags import job_parser
from jobs.process import end_with_parent
from jobs.settings import load_settings

if TYPE_CHECKING:
    from feast import FeatureStore

REGISTRY_AGE_SECONDS = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = job_parser(
        "feature_server",
        "Serve the repository's features by Feast's own server: one worker (more break with an SQL registry; scale\n"
        "by pods), never recycled (recycling cuts connections), no access log. New definitions are served within\n"
        f"{REGISTRY_AGE_SECONDS} s; while Postgres is away the known ones are.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=6566, help="port to listen on (default 6566)")
    parser.add_argument("--metrics-port", type=int, help="port for Prometheus to read /metrics on (default none)")
    arguments = parser.parse_args(argv)
    # The first process of a container ignores SIGTERM until it says otherwise; the server does so later.
    signal.signal(signal.SIGTERM, _end)
    try:
        postgres.export_credentials()
        settings = load_settings()
        import_feast_unchecked()
        from jobs.feast_plugins.on_demand import compute_online_as_for_training

        compute_online_as_for_training()
        store = open_store(settings)
        if arguments.metrics_port is not None:
            feature_server_metrics.serve_from_worker(store, arguments.host, arguments.metrics_port)
    except JobError as error:
        print(f"feature_server: {error}", file=sys.stderr)
        return error.exit_code
    # Gunicorn's worker does not notice that its parent was killed, and would keep the port for ever.
    os.register_at_fork(after_in_child=partial(end_with_parent, os.getpid()))
    os.register_at_fork(after_in_child=partial(_keep_registry_fresh, store))
    # Feast's own refreshing ends for good when Postgres is away once.
    store.serve(arguments.host, arguments.port, workers=1, max_requests=0, max_requests_jitter=0, registry_ttl_sec=0)
    return EXIT_DONE


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(EXIT_DONE)


def _keep_registry_fresh(store: "FeatureStore") -> None:
    """In the worker, which has none of its parent's threads and must not share its parent's connections."""
    from feast.infra.registry.sql import SqlRegistry

    if isinstance(store.registry, SqlRegistry):
        store.registry.write_engine.dispose(close=False)
        store.registry.read_engine.dispose(close=False)
    threading.Thread(target=_refresh_for_ever, args=(store,), name="registry", daemon=True).start()


def _refresh_for_ever(store: "FeatureStore") -> None:
    while True:
        time.sleep(REGISTRY_AGE_SECONDS)
        store.refresh_registry()  # keeps what it has where Postgres does not answer


if __name__ == "__main__":
    sys.exit(main())
