"""The outermost layer: measures every request, asks for the API key, and lets no error out unrendered."""

import logging
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, routes
from api.gateway import Gateway

logger = logging.getLogger("api.edge")
# What a caller that went away is counted as; nothing is sent.
CLIENT_CLOSED_REQUEST = 499


class Edge:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app, self.gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, started, metrics = routes.template(scope["path"]), perf_counter(), self.gateway.metrics
        answer = _Answer(send)
        metrics.in_flight.inc()
        try:
            await self._answer(route, scope, receive, answer)
        finally:
            metrics.in_flight.dec()
            metrics.request(route, scope["method"], answer.code, perf_counter() - started)

    async def _answer(self, route: str, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            if route not in routes.PROBES:
                self.gateway.keys.check(scope["headers"])
            await self._app(scope, receive, answer)
        except problems.Problem as problem:
            await problems.render(problem)(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception:
            logger.exception("unexpected_error", extra={"fields": {"route": route}})
            if not answer.started:
                await problems.render(problems.Internal("The gateway failed; its log tells why."))(
                    scope, receive, answer
                )


class _Answer:
    """A `send` that remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send, self.code, self.started = send, CLIENT_CLOSED_REQUEST, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code, self.started = message["status"], True
        await self._send(message)
