"""How a job ends: its exit code and its one line, on stdout and where Kubernetes looks; and its log lines on stderr."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import redis

from jobs.errors import EXIT_DONE, EXIT_FAILED, JobError
from jobs.instants import isoformat, utc_now

TERMINATION_MESSAGE_BYTES = 4096  # Kubernetes keeps no more
SENTENCE_LETTERS = 500


class Interrupted(KeyboardInterrupt):
    """SIGTERM arrived. A KeyboardInterrupt, because psycopg cancels a running query for that one."""


@dataclass(frozen=True)
class End:
    """How a run ended."""

    exit_code: int
    sentence: str
    """What was done, or why it was not."""

    @property
    def summary(self) -> str:
        """The sentence, behind the exit code where it is one of failure."""
        return self.sentence if self.exit_code == EXIT_DONE else f"failed (exit {self.exit_code}): {self.sentence}"


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGTERM raises Interrupted."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def end_of(job: str, work: Callable[[], str]) -> End:
    """The end that `work` comes to: what it returns, or the failure that it raises."""
    try:
        return End(EXIT_DONE, work())
    except (Exception, KeyboardInterrupt) as error:
        return failure(job, error)


def failure(job: str, error: BaseException) -> End:
    """The end that `error` is, in one sentence, which is logged."""
    match error:
        case JobError():
            code, sentence = error.exit_code, str(error)
        case KeyboardInterrupt():
            code, sentence = EXIT_FAILED, "interrupted before it was done; run it again"
        case psycopg.Error():
            code, sentence = EXIT_FAILED, f"Postgres said: {first_line(error)}"
        case redis.ResponseError() if is_full(error):
            code = EXIT_FAILED
            sentence = (
                f"Redis said: {first_line(error)} Nothing says that it was done; raise maxmemory, or remove what else "
                "is kept there, then run it again"
            )
        case redis.RedisError():
            code, sentence = EXIT_FAILED, f"Redis said: {first_line(error)}"
        case _:
            # A defect, not bad input: the log gets what is needed to mend it, the summary stays one line.
            log_line(job, "crashed", traceback=traceback.format_exception(error))
            code, sentence = EXIT_FAILED, f"internal error: {type(error).__name__}: {first_line(error)}"
    log_line(job, "failed", exit_code=code, error=sentence)
    return End(code, sentence)


def tell(job: str, end: End) -> None:
    """Write the one line to stdout."""
    print(f"{job}: {end.summary}", flush=True)


def conclude(job: str, end: End) -> int:
    """Tell the end of the process to stdout and in the termination message; returns its exit code."""
    tell(job, end)
    _leave_termination_message(job, f"{job}: {end.summary}")
    return end.exit_code


def log_line(job: str, event: str, **fields: Any) -> None:
    """Write one JSON line to stderr: time, job, event, then the event's fields."""
    record = {"time": isoformat(utc_now()), "job": job, "event": event, **fields}
    print(json.dumps(record, default=str), file=sys.stderr, flush=True)


def is_full(error: redis.ResponseError) -> bool:
    """Whether Redis refuses a write because it has reached its maxmemory."""
    return "maxmemory" in str(error)  # of the code OOM redis-py may have made the error's class


def first_line(error: BaseException) -> str:
    """What an error says, as one printable line of at most SENTENCE_LETTERS."""
    # Redis repeats the command with its binary keys; a log, a ledger and a terminal want text, and not a page of it.
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:SENTENCE_LETTERS]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second signal must not cut the cleaning up short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted


def _leave_termination_message(job: str, line: str) -> None:
    path = os.environ.get("FEATURE_PLATFORM_TERMINATION_LOG")
    if not path:
        return
    try:
        Path(path).write_text(line.encode()[:TERMINATION_MESSAGE_BYTES].decode(errors="ignore"))
    except OSError as error:  # what the run did is done; the message is told elsewhere too
        log_line(job, "no termination message", error=str(error))
