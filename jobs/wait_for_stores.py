"""`python -m jobs.wait_for_stores`: end when Postgres and Redis answer; what a pod runs before its job."""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs import applied, postgres
from jobs.applied import Applied
from jobs.ending import first_line, log_line
from jobs.errors import JobError, UsageError
from jobs.flags import job_parser, seconds
from jobs.online import store as online_store
from jobs.runner import run_reader
from jobs.settings import RedisSettings, load, load_project

JOB = "wait_for_stores"
BETWEEN_TRIES_SECONDS = 0.5
LOG_SECONDS = 5.0
LOOK_SECONDS = 0.05
# A try that hangs is given up, so that the next one finds the store that has come back; trying again is ours.
ONE_TRY: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}


class AppliedEarlierError(JobError):
    """What this repository needs was applied, and something else after it."""


class Wait:
    """One store, asked by a thread of its own until it answers: whatever hangs there, hangs nobody else."""

    def __init__(self, store: str, ask: Callable[[], None]) -> None:
        self.store = store
        self.answered = False
        self.error: Exception | None = None
        """Why the last try failed; None before the first has ended."""
        self._ask = ask
        threading.Thread(target=self._run, name=store, daemon=True).start()

    @property
    def reason(self) -> str:
        """Why it is still waited for."""
        return "has not answered yet" if self.error is None else first_line(self.error)

    def _run(self) -> None:
        while True:
            try:
                self._ask()
            except Exception as error:  # whatever it is, it is said, and may pass
                self.error = error
                time.sleep(BETWEEN_TRIES_SECONDS)
            else:
                self.answered = True
                return


def main(argv: Sequence[str] | None = None) -> int:
    """Wait, and return the exit code: 0 when all answer, 1 on time-out, 2 for wrong settings."""
    return run_reader(JOB, _parser(), argv, _wait)


def _parser() -> argparse.ArgumentParser:
    parser = job_parser(
        JOB,
        "Wait until Postgres answers a query of this user and, where a connection string is set, Redis answers PING.\n"
        "Says every 5 s why it still waits. Ends with 0 when all answer and with 1 when time is up.",
    )
    parser.add_argument(
        "--applied",
        action="store_true",
        help="wait also until apply has brought the database to this release and repository; "
        "when time is up, an earlier apply of them will do",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=300.0, metavar="SECONDS", help="how long to wait (default 300)"
    )
    return parser


def _wait(arguments: argparse.Namespace) -> str:
    started = time.monotonic()
    waits = [Wait(store, ask) for store, ask in _questions(arguments.applied).items()]
    late = _until_answered(waits, started + arguments.timeout)
    names = " and ".join(wait.store for wait in waits)
    after = f"after {time.monotonic() - started:.1f} s"
    if not late:
        return f"done: {names} answered {after}"
    if all(isinstance(wait.error, AppliedEarlierError) for wait in late):
        return f"done: {names} answered {after}, though {late[0].reason}"
    raise JobError(f"time was up {after}: " + "; ".join(f"{wait.store}: {wait.reason}" for wait in late))


def _questions(must_be_applied: bool) -> dict[str, Callable[[], None]]:
    """What to ask each store."""
    redis_settings = load(RedisSettings)
    questions: dict[str, Callable[[], None]] = {"Postgres": _ask_postgres}
    if must_be_applied:
        settings = load_project()
        questions["Postgres"] = partial(_ask_applied, settings.project, applied.fingerprint(settings.repo))
    if redis_settings.redis_connection_string:
        questions["Redis"] = partial(_ask_redis, redis_settings)
    return questions


def _ask_postgres() -> None:
    with closing(postgres.connect(JOB, autocommit=True)) as connection:
        connection.execute("SELECT 1")


def _ask_applied(project: str, sha256: str) -> None:
    with closing(postgres.connect(JOB, autocommit=True)) as connection:
        found = applied.look(connection, project, sha256)
    if found is Applied.NEVER:
        raise JobError("apply has not brought the database to this release and repository yet")
    if found is Applied.EARLIER:
        raise AppliedEarlierError("apply has brought the database to another release or repository since")


def _ask_redis(settings: RedisSettings) -> None:
    with closing(online_store.connect(settings, **ONE_TRY)) as client:
        client.ping()


def _until_answered(waits: Sequence[Wait], deadline: float) -> list[Wait]:
    """The stores that have not answered at the deadline (of time.monotonic). Raises UsageError for a wrong setting."""
    told: dict[str, str] = {}
    told_at = time.monotonic()
    while late := [wait for wait in waits if not wait.answered]:
        for error in (wait.error for wait in late):
            if isinstance(error, UsageError):
                raise error
        now = time.monotonic()
        reasons = {wait.store: wait.reason for wait in late if wait.error is not None or now >= told_at + LOG_SECONDS}
        if reasons.items() - told.items() or now >= told_at + LOG_SECONDS:
            log_line(JOB, "waiting", reasons=reasons)
            told, told_at = reasons, now
        if now >= deadline:
            break
        time.sleep(LOOK_SECONDS)
    return late


if __name__ == "__main__":
    sys.exit(main())
