"""What became of requests."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The latency that so many percent did not exceed; of no latencies at all, infinity."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("inf")


@dataclass
class Tally:
    """Counts and latencies, from the instant that a request was due to the end of its answer; seconds."""

    sent: int = 0
    unsent: int = 0
    """Due, and for too long there was no connection to send it by."""
    lost: int = 0
    """The connection ended before the answer did."""
    timed_out: int = 0
    """No answer in time."""
    behind: float = 0.0
    """How long after it was due the latest request left."""
    answered: dict[int, "array[float]"] = field(default_factory=dict)
    """Status -> latencies."""
    started_at: float = 0.0
    """When the first request was due; seconds since 1970."""
    ended_at: float = 0.0
    """When the last answer was there, or no longer waited for."""

    def send(self, behind: float) -> None:
        """Count a request that leaves."""
        self.sent += 1
        self.behind = max(self.behind, behind)

    def answer(self, code: int, seconds: float) -> None:
        """Count an answer."""
        self.answered.setdefault(code, array("d")).append(seconds)

    @property
    def answers(self) -> int:
        """How many requests were answered, in whatever way."""
        return sum(map(len, self.answered.values()))

    @property
    def failed(self) -> int:
        """How many had no answer with status 200."""
        return self.sent + self.unsent - len(self.answered.get(200, ()))

    def percentile(self, percent: float) -> float:
        """Over everything that was due; what failed is infinitely late."""
        return percentile([*self.answered.get(200, ()), *[float("inf")] * self.failed], percent)
