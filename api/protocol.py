"""What uvicorn does on a connection, and what the gateway does otherwise: the common read, refusals, the end."""

import asyncio
import socket
import struct
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api import direct, problems
from api.direct import DIRECT, DirectRead
from api.edge import Edge
from api.problems import Problem

# Who uses a connection as often as this hears of the end in an answer, and never finds it closed.
LINGER_SECONDS = 3.0
# A request takes less than a second from its first byte to its last; a caller that takes ten is broken, or means harm.
PATIENCE_SECONDS, LOOK_SECONDS = 7.0, 2.0
_NEVER = float("inf")


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol for the gateway's application (`api.edge.Edge`)."""

    _ending = False
    _incomplete_since = _NEVER
    """When the request began that is not whole yet, or the wait for the first one (loop time)."""
    _unread_since = _NEVER
    """Since when the caller has left so much of an answer unread that no more can be sent."""
    _idle_since = _NEVER
    """Since when nothing is asked."""
    _made: tuple[Any, bytes] = (None, b"")
    """uvicorn's headers of this second, and the head of an answer that they make; for all connections."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        super().connection_made(transport)
        self._incomplete_since = self.loop.time()
        self._look = self.loop.call_later(LOOK_SECONDS, self._look_at_caller)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone."""
        self._look.cancel()
        super().connection_lost(exc)

    # A request comes

    def on_message_begin(self) -> None:
        """The first byte of a request; its scope is made when it is known to need one."""
        self._incomplete_since, self._idle_since = self.loop.time(), _NEVER
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if self._is_idle() and self.parser.get_method() == b"GET" and not self.parser.should_upgrade():
            read = None if self.flow.write_paused else direct.begin(self._edge.gateway, self, self.url, self.headers)
            if read is not None:
                read.keep_alive = self.parser.get_http_version() == "1.1" and self._keeps_alive()
                self.cycle = read  # type: ignore[assignment]
                return
        self.scope = self._new_scope(self.headers)
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._incomplete_since = _NEVER
        super().on_message_complete()

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

    # The common read is answered

    def answer(self, read: DirectRead, body: bytes) -> bool:
        """As `api.direct.Caller` promises."""
        if read.disconnected or self.transport.is_closing():
            return False
        close = b"" if read.keep_alive else b"connection: close\r\n"
        self.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head(), close, len(body), body))
        read.response_complete = True
        if not read.keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    def _head(self) -> bytes:
        headers, head = Protocol._made
        if headers is not self.server_state.default_headers:
            headers = self.server_state.default_headers  # of this second
            lines = [b"%b: %b\r\n" % header for header in (*headers, (b"content-type", b"application/json"))]
            head = b"HTTP/1.1 200 OK\r\n" + b"".join(lines)
            Protocol._made = headers, head
        return head

    def go_on(self, read: DirectRead, problem: Problem | None) -> None:
        """As `api.direct.Caller` promises."""
        path = read.url.decode("ascii")
        scope = self._new_scope(list(read.headers))
        scope |= {"method": "GET", "path": path, "raw_path": read.url, "query_string": b"", DIRECT: read}
        cycle = RequestResponseCycle(
            scope, self.transport, self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, asyncio.Event(), False, read.keep_alive, self.on_response_complete,
        )  # fmt: skip
        cycle.more_body, cycle.disconnected = False, read.disconnected
        if self.cycle is cast(Any, read):
            self.cycle = cycle
        app = self.app if problem is None else self._edge.refusal(problem, read.started)
        self._start_asgi_task(cycle, cast(Any, app))

    # What comes between requests, and the end

    def on_response_complete(self) -> None:
        """An answer is sent: begin with the next request, if one waits. uvicorn sets a timer for each answer here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The caller has read."""
        self._unread_since = _NEVER
        super().resume_writing()

    def _look_at_caller(self) -> None:
        now = self.loop.time()
        if now - min(self._incomplete_since, self._unread_since) > PATIENCE_SECONDS:
            # Without lingering: the kernel would keep for minutes what the caller has not read.
            caller = self.transport.get_extra_info("socket")
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()
        else:
            self._look = self.loop.call_later(LOOK_SECONDS, self._look_at_caller)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse and close the connection; `msg` is uvicorn's own text."""
        body = orjson.dumps(problems.body(problems.BadRequest("The bytes sent are no HTTP request.")))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def shutdown(self) -> None:
        """The server ends: the next answer is the connection's last and says so; without a request it lingers a moment.

        uvicorn closes what is idle at once, also under a request that has just been sent.
        """
        self._ending = True
        if self._is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()
