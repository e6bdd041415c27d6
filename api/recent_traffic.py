"""What a gateway was asked for in its last minute: the calls that read features, from what its metrics count anyway."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from api.distribution import Distribution, quantile
from api.metrics import Metrics

READS = frozenset({("/features/{id}", "GET"), ("/features", "POST"), ("/get-online-features", "POST")})
"""Route and method of what is told of: probes and those who look at the page are no traffic."""
WINDOW_SECONDS, INTERVAL = 60.0, 5.0


class _Look(NamedTuple):
    at: float
    durations: list[int]
    failed: int


class RecentTraffic:
    """Looks at the counts every five seconds, and tells how they have grown since the oldest look of the window."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._looks = deque([self._look()], maxlen=round(WINDOW_SECONDS / INTERVAL))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.look()

    def look(self) -> None:
        """Remember the counts of now; the oldest of twelve looks is forgotten."""
        self._looks.append(self._look())

    def document(self) -> dict[str, Any]:
        """The section `recent_traffic` of GET /status: of the last 55 to 60 s, or since the start.

        Durations in milliseconds, null like the share of failed (5xx) where nothing was asked.
        """
        before, now = self._looks[0], self._look()
        seconds = now.at - before.at
        durations = [later - earlier for later, earlier in zip(now.durations, before.durations, strict=True)]
        requests = sum(durations)
        return {
            "seconds": round(seconds, 3),
            "requests": requests,
            "requests_per_second": round(requests / seconds, 3) if seconds else 0.0,
            "failed_share": round((now.failed - before.failed) / requests, 6) if requests else None,
            "p50_ms": _milliseconds(quantile(durations, 0.5)),
            "p99_ms": _milliseconds(quantile(durations, 0.99)),
        }

    def _look(self) -> _Look:
        read = [duration.counts for labels, duration in self._metrics.durations.items() if labels in READS]
        failed = sum(
            count[0]
            for (route, method, code), count in self._metrics.requests.items()
            if code >= 500 and (route, method) in READS
        )
        return _Look(self._clock(), [sum(bucket) for bucket in zip(Distribution().counts, *read, strict=True)], failed)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 3)
