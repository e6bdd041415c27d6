"""A command run to its end as a process of its own: how long it took, what its process tree held, what it said."""

import os
import resource
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jobs.process import start_child, stop_child
from tests.bench import processes
from tests.conftest import REPOSITORY

POLL_SECONDS = 0.1
TAIL_LETTERS = 3_000


@dataclass(frozen=True)
class Ended:
    """A command that ended well."""

    seconds: float
    """From the start of its process to its end."""
    cpu_seconds: float
    """Of the process and those that it started, not of the servers."""
    peak_bytes: int
    """The most memory of its process tree at one look, each process counted with its own peak."""
    output: str


def run(command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str]) -> Ended:
    """Run it in the repository's folder. RuntimeError, with the end of what it said, unless it exits with 0."""
    log.unlink(missing_ok=True)
    started, used = time.monotonic(), _children_cpu_seconds()
    # Once this returns the child is the command's own program: the memory of ours, which was forked, is not counted.
    child = start_child(command, log=log, environment=environment, working_directory=REPOSITORY)
    try:
        peak = _peak_until_end(child.pid)
        seconds = time.monotonic() - started
    finally:
        stop_child(child)
    output = log.read_text(errors="replace")
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{output[-TAIL_LETTERS:]}")
    return Ended(seconds, _children_cpu_seconds() - used, peak, output)


def _children_cpu_seconds() -> float:
    """Of all that ended and was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_until_end(pid: int) -> int:
    peak = 0
    with closing(select.epoll()) as poller, os.fdopen(os.pidfd_open(pid)) as ended:
        poller.register(ended, select.EPOLLIN)
        while not poller.poll(POLL_SECONDS):
            peak = max(peak, processes.peak_memory_bytes(pid))
    return peak
