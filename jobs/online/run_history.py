"""The last materializations, beside the features in Redis: there the gateway sees one that runs, or that failed."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import cast

import redis

from jobs.ending import End, first_line, log_line
from jobs.errors import EXIT_DONE, JobError
from jobs.instants import isoformat, utc_now
from jobs.online import store
from jobs.settings import load_settings

KEPT = 10
# A run that is to fail because Redis is away, or to end because it was told to, must not wait long for Redis here.
TIMEOUTS = {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}


def run_history_key(project: str) -> str:
    """The Redis hash that holds one field per run, named by the instant of its start."""
    return f"feature-platform:{project}:runs"


def shown(job: str, work: Callable[[], End]) -> End:
    """Do `work`, and show in Redis that it runs, then how it ended.

    What Redis does not take is logged, and changes nothing of how the work ends.
    """
    started_at = utc_now()
    _show(job, started_at, {})
    end = work()
    # Why a run failed may name hosts and values, which is for the ledger and the log.
    summary = end.summary if end.exit_code == EXIT_DONE else None
    with suppress(KeyboardInterrupt):  # what was done is done
        _show(job, started_at, {"finished_at": isoformat(utc_now()), "exit_code": end.exit_code, "summary": summary})
    return end


def _show(job: str, started_at: datetime, end: Mapping[str, object]) -> None:
    try:
        settings = load_settings()
        with store.connect(settings, **TIMEOUTS) as client:
            key = run_history_key(settings.project)
            client.hset(key, isoformat(started_at), json.dumps(end, sort_keys=True))
            older = sorted(cast("dict[bytes, bytes]", client.hgetall(key)))[:-KEPT]
            if older:
                client.hdel(key, *older)
    except (redis.RedisError, JobError) as error:
        log_line(job, "not_shown", error=first_line(error))
