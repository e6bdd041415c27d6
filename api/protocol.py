"""How a connection is answered: the common read on the spot (`api.direct`), everything else as uvicorn does it."""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api import direct, routes
from api.bounded_protocol import MOST_HEADERS, TOO_MANY_HEADERS, BoundedProtocol
from api.direct import DIRECT, DirectRead
from api.head_with_body import HeadWithBody
from api.problems import BadRequest, Problem, TooManyConnections
from api.upload import ALWAYS_READ, UPLOAD, Upload


class Protocol(BoundedProtocol):
    """The protocol for the gateway's application (`api.edge.Edge`)."""

    _made: tuple[Any, bytes] = (None, b"")
    """uvicorn's headers of this second, and the head of an answer that they make; for all connections."""

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self.upload = None
        if len(self.headers) > MOST_HEADERS:
            raise BadRequest(TOO_MANY_HEADERS)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise BadRequest("The gateway is no proxy: it does not take CONNECT.")
            self.comes_again = True
            return
        if self.is_idle() and not self.surplus and self.parser.get_method() == b"GET":
            read = None if self.flow.write_paused else direct.begin(self.edge.gateway, self, self.url, self.headers)
            if read is not None:
                read.keep_alive = self.parser.get_http_version() == "1.1" and self._keeps_alive()
                self.cycle = read  # type: ignore[assignment]
                return
        self._answer_by_asgi()

    def _answer_by_asgi(self) -> None:
        """The request becomes a task of the application, once those before it are answered."""
        scope, event, waits = self._new_scope(self.headers), asyncio.Event(), not self.is_idle()
        scope |= {"method": self.parser.get_method().decode(), "http_version": self.parser.get_http_version()}
        scope |= _target(self.url)
        self.upload = scope[UPLOAD] = Upload(self.edge.gateway.bodies, 0 if waits else ALWAYS_READ, event.set)
        keep_alive = scope["http_version"] != "1.0" and self._keeps_alive()
        transport = self.transport if scope["method"] == "HEAD" else self._whole_answers()
        app: Any = self.app
        if self.surplus:
            self.leave_surplus()
            keep_alive = False
            if scope["path"] not in routes.PROBES:
                app = self.edge.refusal(TooManyConnections())
        self.cycle = self._new_cycle(scope, transport, event, self.expect_100_continue, keep_alive)
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))
        else:
            self._start_asgi_task(self.cycle, app)

    def _new_cycle(
        self, scope: Any, transport: asyncio.Transport, event: asyncio.Event, expects: bool, keep_alive: bool
    ) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope, transport, self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, event, expects, keep_alive, self.on_response_complete,
        )  # fmt: skip

    def _whole_answers(self) -> asyncio.Transport:
        return cast(asyncio.Transport, HeadWithBody(self.transport))

    def _keeps_alive(self) -> bool:
        return bool(self.parser.should_keep_alive()) and not self._ending

    def _new_scope(self, headers: list[tuple[bytes, bytes]]) -> Any:
        return {
            "type": "http", "asgi": {"version": self.asgi_version, "spec_version": "2.3"}, "http_version": "1.1",
            "server": self.server, "client": self.client, "scheme": self.scheme, "root_path": self.root_path,
            "headers": headers, "state": self.app_state.copy(),
        }  # fmt: skip

    def answer(self, read: DirectRead, body: bytes) -> bool:
        """As `api.direct.Caller` promises."""
        if read.disconnected or self.transport.is_closing():
            return False
        close = b"" if read.keep_alive else b"connection: close\r\n"
        self.transport.write(
            b"%b%btraceparent: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (self._head(), close, read.trace.header, len(body), body)
        )
        read.response_complete = True
        if not read.keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    def _head(self) -> bytes:
        headers, head = Protocol._made
        if headers is not self.server_state.default_headers:
            headers = self.server_state.default_headers  # of this second
            lines = [b"%b: %b\r\n" % header for header in (*headers, *direct.HEADERS)]
            head = b"HTTP/1.1 200 OK\r\n" + b"".join(lines)
            Protocol._made = headers, head
        return head

    def go_on(self, read: DirectRead, problem: Problem | None) -> None:
        """As `api.direct.Caller` promises."""
        path = read.url.decode("ascii")
        scope = self._new_scope(list(read.headers))
        scope |= {"method": "GET", "path": path, "raw_path": read.url, "query_string": b"", DIRECT: read}
        cycle = self._new_cycle(scope, self._whole_answers(), asyncio.Event(), False, read.keep_alive)
        cycle.more_body, cycle.disconnected = False, read.disconnected
        if self.cycle is cast(Any, read):
            self.cycle = cycle
        app = self.app if problem is None else self.edge.refusal(problem)
        self._start_asgi_task(cycle, cast(Any, app))


def _target(url: bytes) -> dict[str, Any]:
    """What ASGI wants of the request line's target; BadRequest if it is not as HTTP has it."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        parsed = None
    if parsed is None or parsed.path is None or not url.isascii():
        raise BadRequest("The request line must name a path in ASCII, percent-encoded.")
    return {
        "path": unquote(parsed.path.decode()), "raw_path": parsed.path, "query_string": parsed.query or b"",
    }  # fmt: skip
