"""The FastAPI application."""

import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api import VERSION, openapi, problems, routes, status_page
from api.edge import Edge
from api.gateway import Gateway
from api.reads import Endpoint
from api.settings import Settings


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """From the plan that is served now: the names of join keys and features are its own."""
        plans = self.state.gateway.plans
        return openapi.document(plans.selector if plans.ready else None)


def create(settings: Settings) -> Edge:
    """The gateway as an ASGI application; SettingsError for an address that is none."""
    gateway = Gateway(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.running():
            _spare_the_collector()
            yield

    app = _App(
        title=openapi.TITLE, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.gateway = gateway
    calls = {(method, path): Endpoint(gateway, call) for method, path, call in routes.READS}
    for method, path in calls:
        gateway.metrics.expect(path, method)
    others: dict[tuple[str, str], Any] = {(method, path): handler for method, path, handler in routes.ROUTES}
    if not settings.gateway_status_page:
        del others["GET", status_page.PATH]
    for (method, path), handler in (calls | others).items():
        # ":path" because an id may hold (percent-encoded) slashes.
        app.add_route(path.replace("}", ":path}"), handler, [method], include_in_schema=False)
    app.add_exception_handler(problems.Problem, _render)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render_failure)
    return Edge(app, gateway, calls)


def _spare_the_collector() -> None:
    """What is there when serving begins stays; looking through it for garbage is what the slowest requests wait for.

    Requests leave next to nothing in cycles, so that it looks seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def _render(_: Request, error: Exception) -> Response:
    assert isinstance(error, problems.Problem)
    return problems.render(error)


async def _render_failure(_: Request, __: Exception) -> Response:
    """In place of Starlette's plain text; Starlette raises the error again, and the edge logs it."""
    return problems.render(problems.Failure())


async def _render_http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        detail = f"This path does not take {problems.cut(request.method)}."
        return problems.render(problems.MethodNotAllowed(detail, error.headers))
    if error.status_code == 404:
        return problems.render(problems.NotFound("There is nothing at this path."))
    raise error
