"""Status and run history: what the jobs write in Redis, the gateway reads, and both pass over what nobody can read."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from api.gateway import Gateway
from api.run_history import Run
from api.status import MaterializationStatus
from jobs.ending import End
from jobs.errors import EXIT_DONE
from jobs.online import run_history
from jobs.online.status import ViewStatus, read_status, remove_status, status_key, write_status
from tests import gateway_support as support
from tests.gateway_support import PROJECT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Redis is emptied by each example itself.
WITH_REDIS = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
INSTANTS = st.datetimes(timezones=st.just(UTC))
COUNTS = st.integers(0, 2**62)
VIEWS = st.builds(
    ViewStatus,
    watermark=INSTANTS, rows=COUNTS, started_at=INSTANTS, finished_at=INSTANTS,
    features=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    retired=st.lists(st.text(max_size=10), max_size=3), previous_rows=st.none() | COUNTS, run_id=st.none() | COUNTS,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def seen() -> MaterializationStatus:
    """What a gateway knows that looks now; that it can be scraped then, too."""

    async def look() -> MaterializationStatus:
        gateway = Gateway(support.settings())
        try:
            await gateway.status.refresh()
            await gateway.status.history.refresh()
            assert generate_latest(gateway.metrics.registry)
            return gateway.status
        finally:
            await gateway.store.close()

    return asyncio.run(look())


def nanoseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1) * 1000


@WITH_REDIS
@given(st.dictionaries(st.text(min_size=1, max_size=20), VIEWS, max_size=3))
def test_the_gateway_and_the_next_run_read_any_status_that_a_run_wrote(
    redis_client: redis.Redis, written: dict[str, ViewStatus]
) -> None:
    redis_client.flushall()
    if written:
        write_status(redis_client, PROJECT, written)
    assert read_status(redis_client, PROJECT) == written
    assert {
        name: (view.watermark, view.rows, view.previous_rows, view.started_at, view.finished_at)
        for name, view in seen().views.items()
    } == {
        name: (
            nanoseconds(view.watermark), view.rows, view.previous_rows,
            nanoseconds(view.started_at), nanoseconds(view.finished_at),
        )
        for name, view in written.items()
    }  # fmt: skip
    if written:
        remove_status(redis_client, PROJECT, list(written))
    assert not seen().views


GOOD = ViewStatus(EPOCH, 1, EPOCH, EPOCH, {"a": "INT64"})
RECORD = {
    "watermark": "1970-01-01T00:00:00Z", "rows": 1, "started_at": "1970-01-01T00:00:00Z",
    "finished_at": "1970-01-01T00:00:00Z", "features": {}, "retired": [], "previous_rows": None, "run_id": None,
}  # fmt: skip


@WITH_REDIS
@given(st.binary(max_size=10) | JSON.map(lambda part: json.dumps(part).encode()), st.sampled_from(sorted(RECORD)), JSON)
def test_an_entry_that_nobody_can_read_hides_no_other(
    redis_client: redis.Redis, rubbish: bytes, field: str, part: object
) -> None:
    redis_client.flushall()
    write_status(redis_client, PROJECT, {"good": GOOD})
    others: Mapping[str | bytes, bytes] = {
        "broken": rubbish, b"\xff": rubbish, "odd": json.dumps(RECORD | {field: part}).encode(),
    }  # fmt: skip
    redis_client.hset(status_key(PROJECT), mapping=dict(others))
    redis_client.hset(run_history.run_history_key(PROJECT), mapping=dict(others))
    read = read_status(redis_client, PROJECT)
    assert read["good"] == GOOD
    assert all(isinstance(entry.features, dict) for entry in read.values())
    assert seen().views["good"].rows == 1


@WITH_REDIS
@given(st.integers(0, 255), st.text(max_size=50))
def test_the_gateway_reads_any_run_while_it_is_at_work_and_after_its_end(
    redis_client: redis.Redis, exit_code: int, sentence: str
) -> None:
    redis_client.flushall()
    at_work: list[Run] = []

    def work() -> End:
        at_work.extend(seen().history.runs)
        return End(exit_code, sentence)

    run_history.shown("materialize", work)
    [before], [after] = at_work, seen().history.runs
    assert before == (after.started_at, None, None, None)
    assert (after.exit_code, after.summary) == (exit_code, sentence if exit_code == EXIT_DONE else None)
    assert after.finished_at is not None
    assert after.finished_at >= after.started_at
