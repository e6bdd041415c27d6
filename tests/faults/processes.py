"""Jobs as real processes that can be killed, without waiting each time until Feast is imported."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess

# The fork server imports once what every job needs; each job is then a fresh process forked from it.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["feast", "feast.infra.registry.sql", "jobs.materialize", "tests.faults.processes"])


def start_materialize(*flags: str, log: str = os.devnull) -> ForkServerProcess:
    """`python -m jobs.materialize FLAGS` in this process's environment; its output goes to the file `log`."""
    process = CONTEXT.Process(target=_materialize, args=(list(flags), dict(os.environ), log), daemon=True)
    process.start()
    return process


def _materialize(flags: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    os.environ.update(environment)
    with open(log, "a") as output:  # noqa: PTH123
        sys.stdout = sys.stderr = output
        from jobs import arrow_query, materialize

        # Many blocks of few customers, so that there is a middle.
        arrow_query.BATCH_BYTES = 1 << 12
        sys.exit(materialize.main(flags))
