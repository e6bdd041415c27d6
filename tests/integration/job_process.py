"""Jobs as processes of their own, as a test starts, follows and ends them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.conftest import REPOSITORY

END_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """How a job ended, and all it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of stderr; nothing else may be there."""
        return [json.loads(line) for line in self.err.splitlines()]


class JobProcess:
    """A running job."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read = ""

    def wait_for_event(self, event: str) -> dict[str, Any]:
        """Return the job's next log line of this event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._read += line
            record: dict[str, Any] = json.loads(line)
            if record["event"] == event:
                return record
        raise AssertionError(f"the job ended without {event!r}: {self._read}")

    def end(self) -> Ended:
        """Wait until the job has ended."""
        out, err = self.process.communicate(timeout=END_SECONDS)
        return Ended(self.process.returncode, out, self._read + err)


@contextmanager
def started(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[JobProcess]:
    """A running job, which does not outlive the test."""
    job = JobProcess(module, *arguments, environment=environment)
    try:
        yield job
    finally:
        if job.process.poll() is None:
            job.process.kill()
        job.process.communicate()


def run(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a job to its end."""
    with started(module, *arguments, environment=environment) as job:
        return job.end()
