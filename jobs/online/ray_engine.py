"""Fills the online store on a Ray cluster: partitions by hash of the entity key, as tasks that share nothing.

The workers reach both stores by their own environment, as a job's own process does; no credential goes through Ray.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from jobs import postgres
from jobs.ending import Interrupted, first_line
from jobs.errors import JobError, UsageError
from jobs.lock import HeldElsewhere, WriterLock
from jobs.online.filled import Filled
from jobs.online.partition_task import PartitionTask, offline_store
from jobs.progress import Progress
from jobs.settings import load_settings

# A partition whose worker is lost is filled again by another, so many times.
RETRIES = 3
# More than one, so that a slow worker does not end long after the others; few, for each scans the tables once.
PARTITIONS_PER_CPU = 2
CANCEL_SECONDS = 5.0


class RayEngine:
    """Tasks on a connected Ray cluster."""

    def __init__(self, lock: WriterLock, partitions: int | None) -> None:
        """`partitions`: into how many the entities are split; None for PARTITIONS_PER_CPU."""
        cpus = int(ray.cluster_resources().get("CPU", 0))
        self._lock, self._partitions = lock, partitions or PARTITIONS_PER_CPU * max(1, cpus)

    def fill(self, task: PartitionTask, progress: Progress, ready: Callable[[], object]) -> Filled:
        """Do `task` once all is `ready`.

        Raises what a partition raised, and JobError when one was lost more than RETRIES times.
        """
        tasks = task.split(self._partitions)
        submit = ray.remote(max_retries=RETRIES, num_cpus=1)(_run).remote
        pending: dict[Any, int] = {}
        filled = Filled.nothing(len(task.group.views))
        ready()
        try:
            for number, one in enumerate(tasks):
                pending[submit(one, self._lock.backend_pid)] = number
            while pending:
                done, _ = ray.wait(list(pending), timeout=1.0)
                self._lock.check()
                for reference in done:
                    part = _result(reference, pending[reference], len(tasks))
                    filled += part
                    progress.advance(int(part.rows.sum()))
                    del pending[reference]
        finally:
            _cancel(list(pending))
        return filled


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Within, this process is connected to the Ray cluster that RAY_ADDRESS names. Raises UsageError and JobError."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        raise UsageError("--engine ray needs RAY_ADDRESS, as in ray://ray-head:10001")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray calls home otherwise
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray takes it, and would end the process without a word
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise JobError(f"the Ray cluster at {address} cannot be reached: {first_line(error)}") from error
    except SystemExit as error:
        raise Interrupted from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        # Ray says it in several ways, also by a failure to connect anew; lost stores raise errors of their own.
        if isinstance(error, ConnectionError) or not ray.is_initialized():
            raise JobError(f"the Ray cluster at {address} was lost in the middle; run it again") from error
        raise
    finally:
        ray.shutdown()


def _run(task: PartitionTask, lock_pid: int) -> Filled:
    """What a worker does."""
    postgres.export_credentials()
    with HeldElsewhere(lock_pid) as lock, offline_store() as database:
        return task.run(load_settings(), database, lock.check, _ignore)


def _ignore(_rows: int) -> None:
    """Progress is told by whole partitions."""


def _result(reference: Any, number: int, count: int) -> Filled:
    try:
        found: Filled = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise JobError(f"partition {number} of {count} was lost {RETRIES + 1} times: {first_line(error)}") from error
    return found


def _cancel(references: list[Any]) -> None:
    """End what still runs; what does not end in time stops before its next write, once the lock is given back."""
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=CANCEL_SECONDS)
