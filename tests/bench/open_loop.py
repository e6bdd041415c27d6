"""Open-loop load: requests are sent on schedule, whatever became of those before, and latency counts from the schedule.

A server that stops for 100 ms at 1,000 requests a second is slow for 100 callers, of whom a closed loop asks but one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import uvloop

from tests.bench.request import Request

LONGEST_SECONDS = 10.0
CONNECTIONS = 64


@dataclass(frozen=True)
class Latencies:
    """In seconds, in the order of the schedule; infinite where there was no answer with status 200."""

    seconds: list[float]

    def percentile(self, percent: float) -> float:
        """The latency that so many percent of the requests did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def failed(self) -> int:
        """How many had no right answer."""
        return sum(latency == float("inf") for latency in self.seconds)


def run(host: str, port: int, requests: Sequence[Request], per_second: int, seconds: float) -> Latencies:
    """Send the requests in turn."""
    return uvloop.run(_run(host, port, [request.to_bytes(host) for request in requests], per_second, seconds))


async def _run(host: str, port: int, requests: Sequence[bytes], per_second: int, seconds: float) -> Latencies:
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[int, float]] = deque()
    latencies = [float("inf")] * round(per_second * seconds)
    free: deque[_Connection] = deque()
    opened = [
        (await loop.create_connection(lambda: _Connection(free, waiting, latencies, requests), host, port))[1]
        for _ in range(CONNECTIONS)
    ]
    free.extend(opened)

    def ask(number: int, due: float) -> None:
        if free:
            free.popleft().ask(number, due)
        else:
            waiting.append((number, due))

    def keep_schedule() -> None:
        started = perf_counter()
        for number in range(len(latencies)):
            due = started + number / per_second
            time.sleep(max(0.0, due - perf_counter()))
            loop.call_soon_threadsafe(ask, number, due)

    # By a thread: the timers of an event loop are milliseconds apart.
    await asyncio.to_thread(keep_schedule)
    deadline = perf_counter() + LONGEST_SECONDS
    while len(free) < CONNECTIONS and perf_counter() < deadline:
        await asyncio.sleep(0.01)
    for connection in opened:
        connection.close()
    return Latencies(latencies)


class _Connection(asyncio.Protocol):
    """A connection that is kept; one request at a time."""

    def __init__(
        self,
        free: "deque[_Connection]",
        waiting: deque[tuple[int, float]],
        latencies: list[float],
        requests: Sequence[bytes],
    ) -> None:
        self._free, self._waiting, self._latencies, self._requests = free, waiting, latencies, requests
        self._data = b""
        self._asked = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, number: int, due: float) -> None:
        self._asked = number, due
        self._transport.write(self._requests[number % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < int(length[15:]):
            return
        number, due = self._asked
        if head.startswith(b"HTTP/1.1 200"):
            self._latencies[number] = perf_counter() - due
        self._data = b""
        if self._waiting:
            self.ask(*self._waiting.popleft())
        else:
            self._free.append(self)

    def close(self) -> None:
        self._transport.close()
