"""How a connection is answered: the common read on the spot (`api.direct`), everything else as uvicorn does it."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api import direct
from api.bounded_protocol import BoundedProtocol
from api.direct import DIRECT, DirectRead
from api.edge import Edge
from api.head_with_body import HeadWithBody
from api.problems import Problem


class Protocol(BoundedProtocol):
    """The protocol for the gateway's application (`api.edge.Edge`)."""

    _made: tuple[Any, bytes] = (None, b"")
    """uvicorn's headers of this second, and the head of an answer that they make; for all connections."""

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if self.is_idle() and self.parser.get_method() == b"GET" and not self.parser.should_upgrade():
            read = None if self.flow.write_paused else direct.begin(self._edge.gateway, self, self.url, self.headers)
            if read is not None:
                read.keep_alive = self.parser.get_http_version() == "1.1" and self._keeps_alive()
                self.cycle = read  # type: ignore[assignment]
                return
        self.scope = self._new_scope(self.headers)
        super().on_headers_complete()
        cycle = self.cycle
        if isinstance(cycle, RequestResponseCycle):
            if self.scope["method"] != "HEAD":
                cycle.transport = self._whole_answers()
            if self._ending:
                cycle.keep_alive = False

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

    @property
    def _edge(self) -> Edge:
        return cast(Edge, self.app)

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
        cycle = RequestResponseCycle(
            scope, self._whole_answers(), self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, asyncio.Event(), False, read.keep_alive, self.on_response_complete,
        )  # fmt: skip
        cycle.more_body, cycle.disconnected = False, read.disconnected
        if self.cycle is cast(Any, read):
            self.cycle = cycle
        app = self.app if problem is None else self._edge.refusal(problem)
        self._start_asgi_task(cycle, cast(Any, app))
