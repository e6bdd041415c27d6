"""The instruments of the benchmarks: what they read off, and what they call reached."""

import asyncio
import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest

from jobs.process import LOOPBACK
from tests.bench import open_loop, wrk
from tests.bench.ratios import Ratio, write
from tests.bench.request import Request, Target

PRINTED = """Running 3s test @ http://127.0.0.1:33101
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   412.20us    1.02ms  23.41ms   97.20%
    Req/Sec    21.64k     2.31k   24.10k    80.00%
  Latency Distribution
     50%  345.00us
     75%  377.00us
     90%  452.00us
     99%    2.61ms
  64641 requests in 3.00s, 34.51MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 5
Requests/sec:  21540.12
Transfer/sec:     11.50MB
"""


def test_what_wrk_prints_is_read_in_seconds_with_everything_that_failed() -> None:
    assert dataclasses.astuple(wrk.parse(PRINTED)) == pytest.approx((21540.12, 345e-6, 2.61e-3, 64641, 9))


@pytest.mark.parametrize(
    ("ratio", "reached"),
    [
        (Ratio("r", 2.0, at_least=2.0), True),
        (Ratio("r", 1.9, at_least=2.0), False),
        (Ratio("r", 0.5, at_most=0.5), True),
        (Ratio("r", 0.6, at_most=0.5), False),
    ],
)
def test_a_ratio_is_reached_on_the_right_side_of_its_bar(ratio: Ratio, reached: bool) -> None:
    assert ratio.is_reached is reached


def test_ratios_are_written_with_their_bar(tmp_path: Path) -> None:
    write([Ratio("fast", 2.5, at_least=2), Ratio("small", 7, at_most=8)], tmp_path / "build" / "x.json")
    assert json.loads((tmp_path / "build" / "x.json").read_text()) == {
        "ratios": [{"name": "fast", "value": 2.5, "at_least": 2}, {"name": "small", "value": 7, "at_most": 8}]
    }


def test_a_server_that_stops_for_a_moment_is_slow_for_everyone_who_was_due_meanwhile() -> None:
    stop = 0.5
    with _server_that_stops_once(after=50, seconds=stop) as port:
        latencies = open_loop.run(
            Target(LOOPBACK, port), [Request("GET", "/a"), Request("GET", "/b")], per_second=200, seconds=1
        )
    assert latencies.failed == 0
    assert [(code, len(seconds)) for code, seconds in latencies.answered.items()] == [(200, 200)]
    delayed = [latency for latency in latencies.answered[200] if latency > stop / 10]
    assert len(delayed) >= 200 * stop * 0.8
    assert latencies.percentile(100) == max(latencies.answered[200]) >= stop * 0.9
    assert latencies.percentile(10) < stop / 10


class _server_that_stops_once:
    """An HTTP server in a thread, whose event loop sleeps once."""

    def __init__(self, after: int, seconds: float) -> None:
        self._after, self._seconds, self._answered = after, seconds, 0
        self._port = 0
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()

    def __enter__(self) -> int:
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        self._ready.wait()
        return self._port

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._answer, LOOPBACK, 0)
        self._port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            self._answered += 1
            if self._answered == self._after:
                time.sleep(self._seconds)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()
