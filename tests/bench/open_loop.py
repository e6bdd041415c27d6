"""Open-loop load: requests are sent on schedule, whatever became of those before, and latency counts from the schedule.

A server that stops for 100 ms at 1,000 requests a second is slow for 100 callers, of whom a closed loop asks but one.
"""

import asyncio
import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

import httptools
import uvloop

from tests.bench.request import Request, Target
from tests.bench.tally import Tally

LONGEST_SECONDS = 10.0
CONNECTIONS = 64
RECONNECT_SECONDS, LOOK_SECONDS = 0.5, 0.05
EachSecond = Callable[[int, Tally], None]
"""Told of each second since the start, and what happened in it."""


def run(
    target: Target,
    requests: Sequence[Request],
    per_second: int,
    seconds: float,
    *,
    host: str = "",
    key: str = "",
    stop: threading.Event | None = None,
    each_second: EachSecond = lambda _second, _tally: None,
) -> Tally:
    """Send the requests in turn, until it is time or `stop` is set, and wait for the answers.

    `host`: another Host than the target's; `key`: an API key. OSError if there is no connection at the start.
    """
    data = [request.to_bytes(host or target.host, key) for request in requests]
    load = _Load(target, data, stop or threading.Event(), each_second)
    return uvloop.run(load.run(per_second, round(per_second * seconds)))


class _Load:
    """One run: its connections, and the requests that wait for one."""

    def __init__(
        self, target: Target, requests: Sequence[bytes], stop: threading.Event, each_second: EachSecond
    ) -> None:
        self.requests, self.total, self._second = requests, Tally(), Tally()
        self._target, self._stop, self._each_second = target, stop, each_second
        self._tls = ssl.create_default_context() if target.is_encrypted else None
        self._free: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._waiting: deque[tuple[int, float]] = deque()

    async def run(self, per_second: int, count: int) -> Tally:
        first = await self._connect()  # where nobody answers, it is said once
        opened = [first, *await asyncio.gather(*(self._connect() for _ in range(CONNECTIONS - 1)))]
        self.total.started_at, self._started = time.time(), perf_counter()
        slots = [asyncio.create_task(self._keep(connection)) for connection in opened]
        watch = asyncio.create_task(self._watch())
        try:
            # By a thread: the timers of an event loop are milliseconds apart.
            await asyncio.to_thread(self._keep_schedule, asyncio.get_running_loop(), per_second, count)
            while self._busy or self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._stop.set()
            for task in (watch, *slots):
                task.cancel()
            await asyncio.gather(watch, *slots, return_exceptions=True)
        self.total.ended_at = time.time()
        self._each_second(int(perf_counter() - self._started) + 1, self._second)
        return self.total

    def _keep_schedule(self, loop: asyncio.AbstractEventLoop, per_second: int, count: int) -> None:
        for number in range(count):
            due = self._started + number / per_second
            if self._stop.wait(max(0.0, due - perf_counter())):
                return
            loop.call_soon_threadsafe(self._ask, number, due)

    def _ask(self, number: int, due: float) -> None:
        self._waiting.append((number, due))
        while self._free and self._waiting:
            self._serve(self._free.popleft())

    def _serve(self, connection: "_Connection") -> None:
        """Send what waits by a connection that is free, or let it wait itself."""
        if not connection.is_kept:
            return
        if not self._waiting:
            self._free.append(connection)
            return
        number, due = self._waiting.popleft()
        self._busy.add(connection)
        for tally in (self.total, self._second):
            tally.send(perf_counter() - due)
        connection.ask(self.requests[number % len(self.requests)], due)

    def answered(self, connection: "_Connection", code: int) -> None:
        if connection not in self._busy:
            return  # what nobody asked for: a proxy says so before it closes what is idle
        self._busy.remove(connection)
        for tally in (self.total, self._second):
            tally.answer(code, perf_counter() - connection.due)
        self._serve(connection)

    def lost(self, connection: "_Connection") -> None:
        """A connection has ended, whoever ended it."""
        if connection in self._busy:
            self._busy.discard(connection)
            for tally in (self.total, self._second):
                tally.lost += 1
        elif connection in self._free:
            self._free.remove(connection)

    async def _connect(self) -> "_Connection":
        async with asyncio.timeout(LONGEST_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._target.host, self._target.port, ssl=self._tls
            )
        return connection

    async def _keep(self, connection: "_Connection | None") -> None:
        """Open a connection again as often as it is lost."""
        try:
            while True:
                if connection is not None:
                    self._serve(connection)
                    await connection.ended
                    connection = None
                with contextlib.suppress(OSError):
                    connection = await self._connect()
                    continue
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            if connection is not None:
                connection.close()

    async def _watch(self) -> None:
        """Give up what takes too long, and tell of each second."""
        told = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = perf_counter()
            for connection in [one for one in self._busy if now - one.due > LONGEST_SECONDS]:
                self._busy.discard(connection)
                for tally in (self.total, self._second):
                    tally.timed_out += 1
                connection.close()
            while self._waiting and now - self._waiting[0][1] > LONGEST_SECONDS:
                self._waiting.popleft()
                for tally in (self.total, self._second):
                    tally.unsent += 1
            if now - self._started >= told + 1:
                told = int(now - self._started)
                self._each_second(told, self._second)
                self._second = Tally()


class _Connection(asyncio.Protocol):
    """A connection that is kept; one request at a time."""

    due = 0.0

    def __init__(self, load: _Load) -> None:
        self._load, self._parser = load, httptools.HttpResponseParser(self)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def ask(self, data: bytes, due: float) -> None:
        self.due = due
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        self._load.answered(self, self._parser.get_status_code())

    @property
    def is_kept(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.abort()
