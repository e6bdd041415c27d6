"""Every call of the gateway but those that read features (`api.reads`)."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from api import answers, docs_page, inputs, instants, reads, status_page
from api.gateway import Gateway
from api.problems import NotFound, Unavailable, cut
from api.reads import Call
from api.run_history import Run
from api.selection import Selection

Handler = Callable[[Request], Awaitable[Response]]


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def services(request: Request) -> Response:
    """GET /feature-services"""
    inputs.parameters(request.scope["query_string"])
    return _json(answers.services(_gateway(request).plans.selector))


async def service(request: Request) -> Response:
    """GET /feature-services/{name}"""
    inputs.parameters(request.scope["query_string"])
    name, selector = inputs.last_segment(request.scope["raw_path"]), _gateway(request).plans.selector
    if name not in selector.services and name not in selector.plan.problems:
        known = ", ".join(sorted(selector.services))
        raise NotFound(f"Feature service {cut(name)!r} is unknown; the known ones are {known}.")
    return _json(answers.service(selector, selector.known(name)))


async def status(request: Request) -> Response:
    """GET /status: also when Redis is away, with what was known last."""
    inputs.parameters(request.scope["query_string"])
    gateway = _gateway(request)
    with contextlib.suppress(Unavailable):
        await gateway.status.refresh()
        await gateway.status.history.refresh()
    return _json(_status(gateway))


def _status(gateway: Gateway) -> dict[str, Any]:
    plans = gateway.plans
    selector = plans.selector if plans.ready else None
    return {
        "online_store": "reachable" if gateway.store.reached else "unreachable",
        "freshness_reference": gateway.settings.freshness_reference,
        "plan": selector and {"version": plans.version, "loaded_at": instants.to_text(plans.loaded_at)},
        "feature_services": {
            name: {"watermark": _watermark(gateway, selection)}
            for name, selection in (selector.services.items() if selector else ())
        }
        | {
            name: {"watermark": None, "problem": problem}
            for name, problem in (selector.plan.problems.items() if selector else ())
        },
        "feature_views": {
            name: _view(gateway, name, view.ttl_seconds)
            for name, view in (selector.plan.feature_views.items() if selector else ())
        },
        "runs": [_run(run) for run in gateway.status.history.runs],
        "recent_traffic": gateway.traffic.document(),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "started_at": instants.to_text(run.started_at),
        "finished_at": None if run.finished_at is None else instants.to_text(run.finished_at),
        "exit_code": run.exit_code,
        "summary": run.summary,
    }


def _watermark(gateway: Gateway, selection: Selection) -> str | None:
    """The least of the views' watermarks; None until each view was materialized."""
    known = gateway.status.views
    if not selection.views or any(view not in known for view in selection.views):
        return None
    return instants.to_text(min(known[view].watermark for view in selection.views))


def _view(gateway: Gateway, name: str, ttl_seconds: float | None) -> dict[str, Any]:
    found = gateway.status.views.get(name)
    if found is None:
        return {"materialized": False, "ttl_seconds": ttl_seconds}
    age = answers.seconds(max(0, instants.now() - found.watermark))
    return {
        "materialized": True,
        "watermark": instants.to_text(found.watermark),
        "age": age,
        "ttl_seconds": ttl_seconds,
        "fresh": ttl_seconds is None or age <= ttl_seconds,
        "rows": found.rows,
        "previous_rows": found.previous_rows,
        "left_out_rows": found.left_out_rows,
        "defaulted_elements": found.defaulted_elements,
        "started_at": instants.to_text(found.started_at),
        "finished_at": instants.to_text(found.finished_at),
    }


async def alive(_: Request) -> Response:
    """GET /livez"""
    return _json({"status": "alive"})


async def ready(request: Request) -> Response:
    """GET /readyz: NoPlan until a plan was loaded, which also means that Redis was reached."""
    _ = _gateway(request).plans.selector
    return _json({"status": "ready"})


async def health(_: Request) -> Response:
    """GET /health"""
    return _json({"status": "ok"})


# (method, path, handler). The metrics' route labels are these paths, and those of the reads.
READS: tuple[tuple[str, str, Call], ...] = (
    ("GET", "/features/{id}", reads.one),
    ("POST", "/features", reads.many),
    ("POST", "/get-online-features", reads.feast),
)
ROUTES: tuple[tuple[str, str, Handler | ASGIApp], ...] = (
    ("GET", status_page.PATH, status_page.page),
    ("GET", docs_page.PATH, docs_page.page),
    *(("GET", path, file) for path, file in docs_page.FILES.items()),
    ("GET", "/feature-services", services),
    ("GET", "/feature-services/{name}", service),
    ("GET", "/status", status),
    ("GET", "/livez", alive),
    ("GET", "/readyz", ready),
    ("GET", "/health", health),
)
PROBES = frozenset({"/livez", "/readyz", "/health"})
# What needs no key: beside the probes, a page that holds no data and asks for the key itself.
OPEN = PROBES | {docs_page.PATH, *docs_page.FILES}
UNMATCHED = "unmatched"
_TEMPLATES = {path: path for _, path, _ in (*READS, *ROUTES) if "{" not in path} | {"/openapi.json": "/openapi.json"}


def template(path: str) -> str:
    """The route that a path belongs to: one of a dozen texts."""
    if path.startswith("/features/"):
        return "/features/{id}"
    if path.startswith("/feature-services/"):
        return "/feature-services/{name}"
    return _TEMPLATES.get(path, UNMATCHED)
