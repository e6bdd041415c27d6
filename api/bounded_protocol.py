"""uvicorn's protocol with bounds: what one connection may take of time and memory, whatever its caller sends."""

import asyncio
import socket
import struct

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import problems

# Who uses a connection as often as this hears of the end in an answer, and never finds it closed.
LINGER_SECONDS = 3.0
# A request takes less than a second from its first byte to its last; a caller that takes ten is broken, or means harm.
PATIENCE_SECONDS, LOOK_SECONDS = 7.0, 2.0
# More requests than these nobody sends before he has read an answer; each waits as an object of a kilobyte.
MOST_PIPELINED = 200
# What a request may bring that is not its body: the line, headers, the frames of chunks.
LONGEST_HEAD = 256 * 1024
_NEVER = float("inf")


class BoundedProtocol(HttpToolsProtocol):
    """Lets slow and excessive callers go, and at the end of the process lets everybody else finish."""

    _ending = False
    _incomplete_since = _NEVER
    """When the request began that is not whole yet, or the wait for the first one (loop time)."""
    _unread_since = _NEVER
    """Since when the caller has left so much of an answer unread that no more can be sent."""
    _idle_since = _NEVER
    """Since when nothing is asked."""
    _head_bytes = 0
    """How much of the request came, without its body, in the reads after its first."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        super().connection_made(transport)
        self._incomplete_since = self.loop.time()
        self._look = self.loop.call_later(LOOK_SECONDS, self._look_at_caller)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone."""
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        request = self.headers
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self.refuse("The bytes sent are no HTTP request.")
        if self._incomplete_since is not _NEVER and self.headers is request:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self.refuse(f"The head of the request is longer than {LONGEST_HEAD} bytes.")

    def on_message_begin(self) -> None:
        """The first byte of a request; its scope is made when it is known to need one."""
        self._incomplete_since, self._idle_since, self._head_bytes = self.loop.time(), _NEVER, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._incomplete_since = _NEVER
        super().on_message_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self.transport.abort()
            raise _TooMany  # so that what else was read is not looked at

    def on_response_complete(self) -> None:
        """An answer is sent: begin with the next request, if one waits. uvicorn sets a timer for each answer here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()
            self.flow.resume_reading()  # what waits is answered first

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The caller has read."""
        self._unread_since = _NEVER
        super().resume_writing()

    def refuse(self, detail: str) -> None:
        """Say what is wrong with what came, and close the connection."""
        if self.transport.is_closing():
            return
        body = orjson.dumps(problems.body(problems.BadRequest(detail)))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def shutdown(self) -> None:
        """The server ends: the next answer is the connection's last and says so; without a request it lingers a moment.

        uvicorn closes what is idle at once, also under a request that has just been sent.
        """
        self._ending = True
        if self.is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self.is_idle():
            self.transport.close()

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


class _TooMany(Exception):
    """The caller has sent more requests than may wait."""
