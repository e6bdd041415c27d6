"""uvicorn's protocol with bounds: what one connection may take of time and memory, whatever its caller sends."""

import asyncio
import logging
import socket
import struct
from typing import Any, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import problems, routes
from api.edge import Edge
from api.memory_share import Share
from api.upload import UPLOAD, Upload

logger = logging.getLogger("api.bounded_protocol")
# Who uses a connection as often as this hears of the end in an answer, and never finds it closed.
LINGER_SECONDS = 3.0
# A request takes less than a second from its first byte to its last; a caller that takes ten is broken, or means harm.
PATIENCE_SECONDS, LOOK_SECONDS = 7.0, 2.0
# A body may be large, and its caller far away.
BODY_SECONDS = 30.0
# More requests than these nobody sends before he has read an answer; each waits as objects of some kilobytes.
MOST_PIPELINED, PIPELINED_BYTES = 200, 8_192
READ_BYTES = 16 * 1024
# What a request may bring that is not its body: the line, headers, the frames of chunks.
LONGEST_HEAD = 256 * 1024
# No proxy passes on more; each is objects of some hundred bytes, for a moment twice.
MOST_HEADERS, HEADER_BYTES = 256, 400
# What a connection holds of heads, and of requests that wait for others, before it takes of what all share.
ALWAYS_KEPT = 16 * 1024
# More callers than these are answered once each, by 503: at once, so that a balancer asks another pod. They are
# accepted all the same, for among them are the probes, which are answered as ever.
MOST_CONNECTIONS = 1_024
# Of those, the one that has asked nothing for the longest time makes room for the next.
MOST_SURPLUS = 128
TOO_MANY_HEADERS = f"The request has more than {MOST_HEADERS} headers."
_NEVER = float("inf")


class BoundedProtocol(HttpToolsProtocol):
    """Lets slow and excessive callers go, and at the end of the process lets everybody else finish."""

    surplus: bool = False
    """Whether the connection is one more than there may be: it is answered once."""
    comes_again = False
    """Whether the request is to be parsed once more, without the upgrade that it asks for."""
    upload: Upload | None = None
    """The body of the request that came last, if that is read by a call."""
    _last_word = b""
    """What is sent when all that came before is answered; then the connection is closed."""
    _ending = False
    _incomplete_since = _NEVER
    """When the request began that is not whole yet, or the wait for the first one (loop time)."""
    _unread_since = _NEVER
    """Since when the caller has left so much of an answer unread that no more can be sent."""
    _idle_since = _NEVER
    """Since when nothing is asked."""
    _head_bytes = 0
    """How much of the request came, without its body, in the reads after its first."""
    _first_bytes = 0
    """How much came in its first read, if that did not bring it whole."""
    _pipelined_bytes = 0
    """What requests hold that wait until others are answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        super().connection_made(transport)
        self._incomplete_since = self.loop.time()
        self._look = self.loop.call_later(LOOK_SECONDS, self._look_at_caller)
        self._kept = Share(self.edge.gateway.bodies, ALWAYS_KEPT)
        if len(self.connections) > MOST_CONNECTIONS:
            self._join_surplus()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone."""
        self._look.cancel()
        _surplus.pop(self, None)
        self._kept.end()
        for cycle, _ in self.pipeline:
            cast(Any, cycle.scope)[UPLOAD].end()
        self.pipeline.clear()
        super().connection_lost(exc)
        # The request and its connection name each other; the garbage collector, which looks seldom, is not needed.
        self.cycle, self.headers, self.upload = cast(Any, None), [], None

    def data_received(self, data: bytes) -> None:
        """Bytes have come; so many at a time that what they become in memory can be looked at in between."""
        if len(data) > READ_BYTES:
            for start in range(0, len(data), READ_BYTES):
                self.data_received(data[start : start + READ_BYTES])
            return
        request, behind = self.headers, None
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                behind = data[upgrade.args[0] :]
            while behind is not None:
                behind = self._feed_again(behind)
        except httptools.HttpParserCallbackError as error:
            self._refuse_for(error.__context__)
        except httptools.HttpParserError:
            self.refuse(problems.BadRequest("The bytes sent are no HTTP request."))
        if self._incomplete_since is not _NEVER:
            self._bound_head(len(data), self.headers is request)

    def on_message_begin(self) -> None:
        """The first byte of a request; its scope is made when it is known to need one."""
        self._incomplete_since, self._idle_since, self._head_bytes = self.loop.time(), _NEVER, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_body(self, body: bytes) -> None:
        """A part of a request's body, which is dropped if no call reads it, or not any more."""
        self._head_bytes -= len(body)
        if self.upload is not None and not self.cycle.response_complete and self.upload.take(len(body)):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        if self.comes_again:
            return
        self._incomplete_since = _NEVER
        super().on_message_complete()
        if self.pipeline:
            self._bound_pipeline()

    def on_response_complete(self) -> None:
        """An answer is sent: begin with the next request, if one waits. uvicorn sets a timer for each answer here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self.upload is not None and self.cycle.response_complete:
            self.upload, self.cycle.body = None, bytearray()
            if self._incomplete_since is not _NEVER:
                self._incomplete_since = self.loop.time()  # who still sends may end it, and then read
        if self._kept.taken:
            self._kept.end()
        if self._last_word:
            self._say_last_word()
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

    def refuse(self, problem: problems.Problem) -> None:
        """Take no more of this connection: what came before is answered, then this is said, then it is closed."""
        named, seconds = self._named(), max(0.0, self.loop.time() - self._incomplete_since)
        self.headers = []
        self._listen_no_more()
        if self._last_word or self.transport.is_closing():
            return
        if self.upload is not None and self._is_uploading():
            self.cycle.keep_alive = False
            self.upload.refuse(problem)  # it is the request itself that is wrong: its call answers
            return
        self._last_word = _rendered(problem)
        self.edge.gateway.metrics.request(*named, problem.status, seconds)
        if self.is_idle():
            self._say_last_word()

    def shutdown(self) -> None:
        """The server ends: the next answer is the connection's last and says so; without a request it lingers a moment.

        uvicorn closes what is idle at once, also under a request that has just been sent.
        """
        self._ending = True
        if self.is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    @property
    def edge(self) -> Edge:
        """The application."""
        return cast(Edge, self.app)

    def is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self.is_idle():
            self.transport.close()

    def _look_at_caller(self) -> None:
        now = self.loop.time()
        incomplete, patience = now - self._incomplete_since, LOOK_SECONDS if self.surplus else PATIENCE_SECONDS
        if self.upload is not None and self._is_uploading():
            if incomplete > BODY_SECONDS:
                self.upload.refuse(problems.BodyTimeout(BODY_SECONDS))
            incomplete = 0.0
        if incomplete > patience or now - self._unread_since > PATIENCE_SECONDS:
            # Without lingering: the kernel would keep for minutes what the caller has not read.
            caller = self.transport.get_extra_info("socket")
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()
        else:
            self._look = self.loop.call_later(LOOK_SECONDS, self._look_at_caller)

    def _is_uploading(self) -> bool:
        """Whether a call waits for more of its body."""
        return self.cycle.more_body and not self.cycle.response_complete

    def _join_surplus(self) -> None:
        self.surplus = True
        if len(_surplus) >= MOST_SURPLUS:
            silent = next(iter(_surplus))
            del _surplus[silent]
            silent.transport.abort()
        _surplus[self] = None

    def leave_surplus(self) -> None:
        """The caller has asked, and will be answered."""
        _surplus.pop(self, None)

    def _feed_again(self, behind: bytes) -> bytes | None:
        """No upgrade is made: the request is parsed as if it had not asked for one, then what came `behind` it.

        Left as it is, the parser would skip its body. What came behind a further such request is returned.
        """
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        data = b"%b\r\n%b" % (b"".join(head), behind)
        self.comes_again = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        return None

    def _refuse_for(self, error: BaseException | None) -> None:
        """Answer what one of our callbacks has raised; all that the parser says is that one did."""
        if isinstance(error, _TooMany):
            self._listen_no_more()
            return
        if not isinstance(error, problems.Problem):
            logger.error("unexpected_error", exc_info=error, extra={"fields": {"route": self._named()[0]}})
            error = problems.Failure()
        self.refuse(error)

    def _named(self) -> tuple[str, str]:
        """Route and method of the request that is being read, as they are counted."""
        if self._incomplete_since is _NEVER or not self.url:
            return routes.UNMATCHED, "OTHER"
        path = self.url.partition(b"?")[0].decode("latin-1")
        return routes.template(path), self.parser.get_method().decode()

    def _bound_head(self, count: int, has_begun: bool) -> None:
        """So many bytes have come of a request that is not whole; the first ones if it has not `has_begun` before."""
        if isinstance(self.parser, _Deaf):
            return
        if has_begun:
            self._head_bytes += count
        else:
            self._first_bytes = count
        if self._head_bytes > LONGEST_HEAD:
            self.refuse(problems.BadRequest(f"The head of the request is longer than {LONGEST_HEAD} bytes."))
        elif self.headers and len(self.headers) > MOST_HEADERS:
            self.refuse(problems.BadRequest(TOO_MANY_HEADERS))
        elif not self._kept.hold(
            self._first_bytes + self._head_bytes + (self._pipelined_bytes if self.pipeline else 0)
        ):
            self.refuse(problems.Overloaded("The gateway holds as many requests as it may; try again."))

    def _bound_pipeline(self) -> None:
        """A request waits until others are answered."""
        headers = sum(HEADER_BYTES + len(name) + len(value) for name, value in self.headers)
        before = self._pipelined_bytes if len(self.pipeline) > 1 else 0
        self._pipelined_bytes = before + PIPELINED_BYTES + len(self.url) + headers
        if len(self.pipeline) > MOST_PIPELINED or not self._kept.hold(self._pipelined_bytes):
            self.transport.abort()
            raise _TooMany  # so that what else was read is not looked at

    def _listen_no_more(self) -> None:
        self.parser = cast(httptools.HttpRequestParser, _Deaf())

    def _say_last_word(self) -> None:
        self.transport.write(self._last_word)
        self.transport.close()


def _rendered(problem: problems.Problem) -> bytes:
    """The whole answer, the last one on its connection."""
    body = orjson.dumps(problems.body(problem))
    headers = problem.headers | {
        "content-type": problems.MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[problem.status] + head.encode() + b"\r\n" + body


class _Deaf:
    """In place of the parser of a connection of which nothing more is taken."""

    def feed_data(self, _: bytes) -> None:
        pass


class _TooMany(Exception):
    """The caller has sent more requests than may wait."""


_surplus: dict[BoundedProtocol, None] = {}
"""The connections of this process that are more than there may be and have not asked yet, the oldest first."""
