"""`python -m api`: serves until SIGTERM or Ctrl-C, then finishes the requests in flight and ends with 0.

Ends with 2 and one sentence for each wrong setting, with 1 if it cannot listen.
"""

import logging
import os
import resource
import signal
import socket
import sys

# Feast sets it for itself and its children; this is one process, and its metrics live in memory. The client library
# of Prometheus looks at it when it is imported, by what follows.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
os.environ.pop("prometheus_multiproc_dir", None)

import uvicorn

from api import app, log
from api.bounded_protocol import MOST_CONNECTIONS
from api.edge import Edge
from api.protocol import Protocol
from api.settings import PREFIX, Settings, SettingsError, load

logger = logging.getLogger("api")
# Below the 30 s that Kubernetes grants; a request takes less than a second.
GRACE_SECONDS = 10
# Longer than the proxies in front keep an idle connection (nginx and load balancers 60 s, Traefik 90 s): who closes it
# must be the one who sends, or a request meets the closing, and a POST is not sent again.
KEEP_ALIVE_SECONDS = 100


def main() -> int:
    """Serve until a signal; the exit code."""
    log.configure()
    try:
        settings = load()
        application = app.create(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        listening = _listen(settings)
        metrics_port = _serve_metrics(settings, application)
    except _CannotListen as error:
        print(error, file=sys.stderr)
        return 1
    _allow_connections()
    port = listening.getsockname()[1]
    logger.info(
        "gateway_listening",
        extra={"fields": {"host": settings.gateway_host, "port": port, "metrics_port": metrics_port}},
    )
    _serve(application, listening)
    return 0


class _CannotListen(OSError):
    pass


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.gateway_host else socket.AF_INET
        return socket.create_server((settings.gateway_host, settings.gateway_port), family=family, backlog=2048)
    except OSError as error:
        raise _CannotListen(_refusal("PORT", settings.gateway_host, settings.gateway_port, error)) from None


def _allow_connections() -> None:
    """As many open files as connections may be and what else there is, where the container starts with fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_metrics(settings: Settings, application: Edge) -> int:
    port = settings.gateway_metrics_port
    try:
        return application.gateway.metrics.serve(settings.gateway_host, port)
    except OSError as error:
        raise _CannotListen(_refusal("METRICS_PORT", settings.gateway_host, port, error)) from None


def _refusal(setting: str, host: str, port: int, error: OSError) -> str:
    return f"Cannot listen on {host}:{port} ({PREFIX}GATEWAY_HOST, {PREFIX}GATEWAY_{setting}): {error.strerror}."


def _serve(application: Edge, listening: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        http=Protocol,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    # uvicorn raises the signal that ended it once more, for the handler that was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
