"""One connection to Redis: commands of one turn of the event loop go out together, replies come back in order.

The protocol is RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), parsed by hiredis.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from api.deadline import TICK_SECONDS

DEADLINE = 0.25
_TICKS = round(DEADLINE / TICK_SECONDS)
Part = bytes | str | int


class ConnectionLost(Exception):
    """The connection is gone, or was given up; what was asked may or may not have been done."""


TROUBLE = (ConnectionLost, hiredis.ReplyError, OSError)
"""The errors that mean trouble with Redis, of each kind: it is gone, refuses a command, or cannot be reached in time
(TimeoutError, a refused connection, a host without an address, TLS that fails: all are OSErrors)."""


def command(*parts: Part) -> bytes:
    """A command as bytes."""
    sent = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(sent) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in sent)


class _Waiting:
    """Who is told the next `left` replies."""

    __slots__ = ("left", "replies", "tell", "tick")

    def __init__(self, tell: Callable[[Any], None], left: int, tick: int) -> None:
        self.tell, self.left, self.tick = tell, left, tick
        self.replies: list[Any] | None = [] if left > 1 else None


class Connection(asyncio.Protocol):
    """A connection whose every reply comes in time, or which is given up as a whole.

    A reply belongs to the command at its place in line, whether or not somebody still waits for it: a caller that went
    away leaves its place taken, and nobody else gets its answer.
    """

    def __init__(self, lost: Callable[[Exception], object]) -> None:
        """`lost` is called once, when the connection has ended for whatever reason but `close()` by its owner."""
        self._tell = lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._line: deque[_Waiting] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False
        """Whether it is of no more use."""
        self.outstanding = 0
        """Replies that are waited for."""

    def send(self, commands: bytes, replies: int = 1) -> "asyncio.Future[Any]":
        """Ask; the future holds the reply, or with `replies` > 1 a list of so many, or ConnectionLost.

        A refusal of Redis is a reply of type hiredis.ReplyError.
        """
        future = self._loop.create_future()

        def tell(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, ConnectionLost):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.ask(commands, tell, replies)
        return future

    def ask(self, commands: bytes, tell: Callable[[Any], None], replies: int = 1) -> None:
        """Ask, and have `tell` called with what the future of `send` would hold, or with the ConnectionLost itself."""
        if self.ended:
            self._loop.call_soon(tell, ConnectionLost("the connection has ended"))
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(commands)
        self._line.append(_Waiting(tell, replies, self._ticks))
        self.outstanding += replies
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def close(self, error: Exception | None = None) -> None:
        """End it at once, with everything that is waited for."""
        if self.ended:
            return
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self.outstanding = 0
        if error is not None:
            self._tell(error)
        error = error or ConnectionLost("the connection was closed")
        while self._line:
            self._tell_one(self._line.popleft(), ConnectionLost(f"{type(error).__name__}: {error}"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's: it is open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Asyncio's: hands out the replies that are whole."""
        reader, line = self._reader, self._line
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                waiting = line[0]
                self.outstanding -= 1
                if waiting.replies is not None:
                    waiting.replies.append(reply)
                    waiting.left -= 1
                    if waiting.left:
                        continue
                    reply = waiting.replies
                line.popleft()
                self._tell_one(waiting, reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.close(ConnectionLost(f"what answers is no Redis: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio's: it has ended."""
        self.close(error or ConnectionLost("Redis closed the connection"))

    def _tell_one(self, waiting: _Waiting, reply: Any) -> None:
        try:
            waiting.tell(reply)
        except Exception as error:  # one caller's failure, which must not cost the others their replies
            self._loop.call_exception_handler({"message": "a reply of Redis could not be used", "exception": error})

    def _flush(self) -> None:
        if self._transport is not None and not self.ended:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _tick(self) -> None:
        """Ticks are counted, not seconds: a process that had to wait for a CPU notices late (see api.deadline)."""
        self._ticks += 1
        self._timer = None
        if not self._line:
            return
        if self._ticks - self._line[0].tick >= _TICKS:
            self.close(TimeoutError(f"no answer within {DEADLINE * 1000:.0f} ms"))
        else:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)


async def connect(
    host: str, port: int, tls: ssl.SSLContext | None, greeting: Sequence[bytes], lost: Callable[[Exception], object]
) -> Connection:
    """A connection on which Redis has accepted each command of `greeting`; TROUBLE otherwise, and nothing is left open.

    `lost` is told of the end of a connection that was returned, and of no other.
    """
    loop, greeted = asyncio.get_running_loop(), False

    def tell(error: Exception) -> None:
        if greeted:
            lost(error)

    try:
        _, connection = await loop.create_connection(lambda: Connection(tell), host, port, ssl=tls)
    except UnicodeError as error:  # a host that no name server can be asked for
        raise ConnectionLost(f"{host!r} is no host: {error}") from None
    try:
        if greeting:
            replies = await connection.send(b"".join(greeting), len(greeting))
            refuse(replies if len(greeting) > 1 else [replies])
    except BaseException:  # a cancellation too: nobody else knows of the connection
        connection.close()
        raise
    greeted = True
    return connection


async def ask_once(host: str, port: int, tls: ssl.SSLContext | None, greeting: Sequence[bytes], question: bytes) -> Any:
    """What the server replies to one command, on a connection for it alone; TROUBLE."""
    connection = await connect(host, port, tls, greeting, lambda _: None)
    try:
        reply = await connection.send(question)
    finally:
        connection.close()
    refuse([reply])
    return reply


def refuse(replies: Sequence[Any]) -> None:
    """Raise the first refusal among the replies, as a ConnectionLost."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise ConnectionLost(str(reply))
