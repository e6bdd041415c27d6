"""The outermost layer: measures every request, asks for the API key, and lets no error out unrendered.

It calls the reads itself: FastAPI's way to a route costs more than the read.
"""

import logging
from collections.abc import Mapping
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, routes
from api.gateway import Gateway

logger = logging.getLogger("api.edge")
# What a caller that went away is counted as; nothing is sent.
CLIENT_CLOSED_REQUEST = 499


class Edge:
    """An ASGI application around another, and around calls that need nothing of it, by (method, route)."""

    def __init__(self, app: ASGIApp, gateway: Gateway, calls: Mapping[tuple[str, str], ASGIApp]) -> None:
        self._app, self.gateway, self._calls = app, gateway, calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._measured(scope, receive, send, perf_counter())
        else:
            await self._app(scope, receive, send)

    def refusal(self, problem: problems.Problem, started: float) -> ASGIApp:
        """An application that answers with the problem a request that came at `started` (of perf_counter)."""

        async def refuse(*_: object) -> None:
            raise problem

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._measured(scope, receive, send, started, refuse)

        return answer

    async def _measured(
        self, scope: Scope, receive: Receive, send: Send, started: float, call: ASGIApp | None = None
    ) -> None:
        metrics = self.gateway.metrics
        route, method = routes.template(scope["path"]), scope["method"]
        answer = _Answer(send)
        metrics.in_flight += 1
        try:
            if route not in routes.PROBES:
                self.gateway.keys.check(scope["headers"])
            await (call or self._calls.get((method, route), self._app))(scope, receive, answer)
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
        finally:
            metrics.in_flight -= 1
            metrics.request(route, method, answer.code, perf_counter() - started)


class _Answer:
    """A `send` that remembers the status."""

    __slots__ = ("_send", "code", "started")

    def __init__(self, send: Send) -> None:
        self._send, self.code, self.started = send, CLIENT_CLOSED_REQUEST, False

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.code, self.started = message["status"], True
        await self._send(message)
