"""What a load looks like while it runs and when it has ended, for people and for programs."""

from typing import Any, TextIO

from tests.bench.tally import Tally, percentile

HEAD = (
    f"{'second':>6} {'sent':>6} {'answered':>8} {'2xx':>6} {'4xx':>6} {'5xx':>6} {'other':>6} {'none':>6} "
    f"{'p50 ms':>8} {'p99 ms':>8} {'behind ms':>9}"
)
# On a terminal the head is repeated so that it stays in sight.
ROWS = 20


class Table:
    """A row for each second, as it passes."""

    def __init__(self, output: TextIO) -> None:
        self._output, self._rows = output, 0

    def __call__(self, second: int, tally: Tally) -> None:
        """Print what happened in this second."""
        if not self._rows or (self._output.isatty() and self._rows % ROWS == 0):
            print(HEAD, file=self._output)
        self._rows += 1
        print(f"{second:6} {_row(tally)}", file=self._output, flush=True)


def _row(tally: Tally) -> str:
    of_class = dict.fromkeys(("2xx", "4xx", "5xx", "other"), 0)
    for code, seconds in tally.answered.items():
        kind = f"{code // 100}xx"
        of_class[kind if kind in of_class else "other"] += len(seconds)
    latencies = [latency for seconds in tally.answered.values() for latency in seconds]
    counts = " ".join(f"{count:6}" for count in (*of_class.values(), no_answer(tally)))
    waits = " ".join(f"{_milliseconds(percentile(latencies, percent)):>8}" for percent in (50, 99))
    return f"{tally.sent:6} {len(latencies):8} {counts} {waits} {tally.behind * 1e3:9.1f}"


def no_answer(tally: Tally) -> int:
    """How many requests ended without an answer."""
    return tally.lost + tally.timed_out + tally.unsent


def print_totals(tally: Tally, output: TextIO) -> None:
    """A row for each status, then what had no answer."""
    seconds = tally.ended_at - tally.started_at
    print(f"\n{tally.sent:,} requests in {seconds:.1f} s, {tally.sent / seconds:,.1f} a second", file=output)
    print(f"{'code':>6} {'answers':>8} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'longest':>8}", file=output)
    for code, latencies in sorted(tally.answered.items()):
        waits = " ".join(f"{_milliseconds(percentile(latencies, percent)):>8}" for percent in (50, 99, 100))
        print(f"{code:6} {len(latencies):8} {len(latencies) / seconds:8.1f} {waits}", file=output)
    print(
        f"no answer: {tally.lost:,} connections lost, {tally.timed_out:,} timed out, {tally.unsent:,} not sent for "
        f"want of a connection; up to {tally.behind * 1e3:.1f} ms behind schedule",
        file=output,
    )


def document(tally: Tally) -> dict[str, Any]:
    """The totals for JSON: seconds, instants in seconds since 1970."""
    return {
        "started_at": tally.started_at,
        "ended_at": tally.ended_at,
        "sent": tally.sent,
        "answered": {
            str(code): {
                "count": len(latencies),
                "p50_seconds": percentile(latencies, 50),
                "p99_seconds": percentile(latencies, 99),
                "longest_seconds": max(latencies),
            }
            for code, latencies in sorted(tally.answered.items())
        },
        "lost": tally.lost,
        "timed_out": tally.timed_out,
        "unsent": tally.unsent,
        "behind_seconds": tally.behind,
    }


def _milliseconds(seconds: float) -> str:
    return "-" if seconds == float("inf") else f"{seconds * 1e3:.2f}"
