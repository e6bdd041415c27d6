"""`python -m tests.e2e.traffic_client`: asks on schedule, whatever came of the requests before, and compares answers.

Half of the requests go over connections that are kept, half over a fresh one each. stdin: one line of JSON (url, host,
right answers, requests per second), and its end ends the traffic. stdout: a line when it starts, then the report.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any

import httpx

from tests.e2e.traffic import STARTED, Fault, Report

KEPT_CONNECTIONS = 8
ANSWER_SECONDS = 5.0


class TrafficClient:
    """One run of traffic."""

    def __init__(self, url: str, host: str, right: Mapping[str, list[Any]], per_second: int) -> None:
        self._right, self._interval = right, 1 / per_second
        self._report = Report()
        # verify: no certificates to load, there is no TLS here.
        common: dict[str, Any] = {
            "base_url": url, "headers": {"Host": host}, "timeout": ANSWER_SECONDS, "verify": False, "trust_env": False,
        }  # fmt: skip
        self._fresh = httpx.AsyncClient(**common, limits=httpx.Limits(max_keepalive_connections=0))
        self._kept = [httpx.AsyncClient(**common) for _ in range(KEPT_CONNECTIONS)]

    async def run(self, end: asyncio.Event) -> Report:
        """Ask until `end`, then wait for the last answers."""
        started = time.monotonic()
        paths, kept = cycle(self._right), cycle(self._kept)
        async with asyncio.TaskGroup() as tasks:
            for number in count():
                due = started + number * self._interval
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if number and end.is_set():
                    break
                self._report.behind = max(self._report.behind, time.monotonic() - due)
                self._report.sent += 1
                connection, client = ("fresh", self._fresh) if number % 2 else ("kept", next(kept))
                tasks.create_task(self._ask(next(paths), connection, client))
            self._report.seconds = time.monotonic() - started
        return self._report

    async def _ask(self, path: str, connection: str, client: httpx.AsyncClient) -> None:
        at, started = datetime.now(UTC), time.monotonic()
        status, body = self._right[path]
        faults, reason = self._report.failed, ""
        answered, headers = None, dict[str, str]()

        async def trace(event: str, _: object) -> None:
            self._report.connections[connection] += event == "connection.connect_tcp.complete"

        try:
            answer = await client.get(path, extensions={"trace": trace})
            answered, headers = answer.status_code, dict(answer.headers)
            if answered != status:
                reason = f"status {answered} instead of {status}: {answer.text[:200]}"
            elif (found := answer.json()) != body:
                faults, reason = self._report.wrong, f"{found} instead of {body}"
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            reason = f"{type(error).__name__}: {error}"
        milliseconds = (time.monotonic() - started) * 1000
        self._report.slowest_milliseconds = max(self._report.slowest_milliseconds, milliseconds)
        if reason:
            moment = f"{at:%H:%M:%S.%f}"
            faults.append(Fault(moment, path, connection, reason, milliseconds, at.timestamp(), answered, headers))


async def main() -> None:
    """Read what to do, do it until stdin ends, and report."""
    stdin, end = asyncio.StreamReader(limit=1 << 26), asyncio.Event()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    client = TrafficClient(**json.loads(await stdin.readline()))

    async def wait_for_end() -> None:
        await stdin.read()
        end.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait_for_end())
        print(STARTED, flush=True)
        report = await client.run(end)
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
