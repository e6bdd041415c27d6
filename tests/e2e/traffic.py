"""Traffic beside a test that upgrades, drains or breaks what it goes to, and a report of every answer that was wrong.

The client is a process of its own, traffic_client.py.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PER_SECOND = 60
STARTED = "started"
SHOWN = 10

RightAnswers = Mapping[str, tuple[int, Any]]
"""Path -> status and JSON body."""


@dataclass(frozen=True)
class Fault:
    """A request that was not answered as it should have been."""

    at: str
    path: str
    connection: str
    reason: str
    milliseconds: float
    sent_at: float
    """Seconds since 1970."""
    status: int | None
    """None: there was no answer."""
    headers: dict[str, str]
    """Of the answer, names in lower case."""


@dataclass
class Report:
    """What came of the requests; times in seconds unless the name says otherwise."""

    sent: int = 0
    seconds: float = 0.0
    behind: float = 0.0
    """How late the latest request left: a recorder that could not keep its schedule has recorded less than it says."""
    slowest_milliseconds: float = 0.0
    connections: dict[str, int] = field(default_factory=lambda: {"fresh": 0, "kept": 0})
    failed: list[Fault] = field(default_factory=list)
    """No answer, or another status than the right one."""
    wrong: list[Fault] = field(default_factory=list)
    """The right status with another body."""

    @property
    def per_second(self) -> float:
        """Requests sent in a second, on average."""
        return self.sent / self.seconds

    def __str__(self) -> str:
        faults = [
            f"{kind} at {fault.at} after {fault.milliseconds:.0f} ms, {fault.connection}: {fault.path}: {fault.reason}"
            for kind, faults in (("failed", self.failed), ("wrong", self.wrong))
            for fault in faults[:SHOWN]
        ]
        head = (
            f"{self.sent} requests in {self.seconds:.1f} s ({self.per_second:.0f}/s, up to {self.behind:.2f} s late), "
            f"{len(self.failed)} failed, {len(self.wrong)} wrong, slowest {self.slowest_milliseconds:.0f} ms"
        )
        return "\n".join([head, *faults])


class Recording:
    """Traffic under way; `report` is there once it has ended."""

    report: Report


@contextmanager
def traffic(url: str, host: str, right: RightAnswers, per_second: int = PER_SECOND) -> Iterator[Recording]:
    """Ask for the paths of `right` in turn while the block runs. RuntimeError if the client itself broke."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.traffic_client"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests, which then end it by its stdin
    )
    assert child.stdin is not None
    assert child.stdout is not None
    recording = Recording()
    try:
        child.stdin.write(order(url, host, right, per_second))
        child.stdin.flush()
        if child.stdout.readline().decode().strip() != STARTED:
            raise RuntimeError(f"the traffic did not start; it ended with {child.wait()}")
        yield recording
    finally:
        said, _ = child.communicate()  # the end of its stdin is the end of the traffic
    if child.returncode != 0:
        raise RuntimeError(f"the traffic ended early, with {child.returncode}")
    recording.report = read_report(said)


def order(url: str, host: str, right: RightAnswers, per_second: int) -> bytes:
    """What the client reads first."""
    return json.dumps({"url": url, "host": host, "right": dict(right), "per_second": per_second}).encode() + b"\n"


def read_report(said: bytes) -> Report:
    """What the client says last."""
    document = json.loads(said)
    for kind in ("failed", "wrong"):
        document[kind] = [Fault(**fault) for fault in document[kind]]
    return Report(**document)
