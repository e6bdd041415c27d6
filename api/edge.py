"""The outermost layer: measures every request, asks for the API key, and lets no error out unrendered.

It calls the reads itself: FastAPI's way to a route costs more than the read.
"""

import logging
from collections.abc import Mapping
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, routes, status_page, trace_context
from api.direct import DIRECT, DirectRead
from api.gateway import Gateway
from api.metrics import CLIENT_CLOSED_REQUEST
from api.trace_context import Trace
from api.upload import UPLOAD, Upload

logger = logging.getLogger("api.edge")


class Edge:
    """An ASGI application around another, and around calls that need nothing of it, by (method, route)."""

    def __init__(self, app: ASGIApp, gateway: Gateway, calls: Mapping[tuple[str, str], ASGIApp]) -> None:
        self._app, self.gateway, self._calls = app, gateway, calls
        # The page holds nothing of what the key protects, and asks for it itself.
        self._open = routes.OPEN | ({status_page.PATH} if gateway.settings.gateway_status_page else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._measured(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def refusal(self, problem: problems.Problem) -> ASGIApp:
        """An application that answers with the problem."""

        async def refuse(*_: object) -> None:
            raise problem

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._measured(scope, receive, send, refuse)

        return answer

    async def _measured(self, scope: Scope, receive: Receive, send: Send, call: ASGIApp | None = None) -> None:
        metrics, requests = self.gateway.metrics, self.gateway.requests
        before: DirectRead | None = scope.get(DIRECT)
        if before is None:
            started, trace = perf_counter(), requests.begin(scope["headers"])
        else:
            started, trace = before.started, before.trace
        trace_context.current.set(trace)
        upload: Upload | None = scope.get(UPLOAD)
        route, method = routes.template(scope["path"]), scope["method"]
        answer = _Answer(send, trace)
        metrics.in_flight += 1
        try:
            if route not in self._open:
                self.gateway.keys.check(scope["headers"])
            await (call or self._calls.get((method, route), self._app))(scope, receive, answer)
        except problems.Problem as problem:
            await problems.render(problem)(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception:
            fields = {"trace_id": trace.trace_id.decode(), "route": route}
            logger.exception("unexpected_error", extra={"fields": fields})
            if not answer.started:
                await problems.render(problems.Failure())(scope, receive, answer)
        finally:
            if upload is not None:
                upload.end()
            metrics.in_flight -= 1
            seconds = perf_counter() - started
            metrics.request(route, method, answer.code, seconds)
            requests.note(trace, route, method, answer.code, seconds)


class _Answer:
    """A `send` that says which trace the answer belongs to, and remembers the status."""

    __slots__ = ("_send", "_trace", "code", "started")

    def __init__(self, send: Send, trace: Trace) -> None:
        self._send, self._trace, self.code, self.started = send, trace, CLIENT_CLOSED_REQUEST, False

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.code, self.started = message["status"], True
            message["headers"] = [*message["headers"], (trace_context.HEADER, self._trace.header)]
        await self._send(message)
