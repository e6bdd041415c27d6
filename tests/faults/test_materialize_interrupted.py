"""However a materialization ends, the next one ends in the same bytes as if nothing had happened."""

import random
import time
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from jobs.local.servers import RedisServer
from jobs.online.run_history import run_history_key
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.faults.processes import start_materialize
from tests.offline import FEBRUARY, JANUARY, TABLES, OfflineStore, dump

CUSTOMERS = 2500
STATUS = f"feature-platform:{PROJECT}:status"
KILLS = 30
ENDS_WITHIN_SECONDS = 120.0


def fill(offline: OfflineStore, as_of: datetime, first: int, months_active: int) -> None:
    """CUSTOMERS rows in each snapshot table, the first customer's number being `first`."""
    for table, features in TABLES.items():
        values = dict(features) | ({"months_active": months_active} if "months_active" in features else {})
        columns, slots = ", ".join(values), ", ".join(["%s"] * len(values))
        offline.connection.execute(
            f"""INSERT INTO offline.{table} (user_id, as_of, created_at, {columns})
                SELECT 'customer-' || number, %s::timestamptz, %s::timestamptz, {slots}
                FROM generate_series(%s::int, %s::int) AS number""",
            [as_of, as_of, *values.values(), first, first + CUSTOMERS - 1],
        )


@pytest.fixture
def two_months(platform: OfflineStore) -> OfflineStore:
    """January and February; a fifth of the customers leave and as many join."""
    fill(platform, JANUARY, 0, months_active=1)
    fill(platform, FEBRUARY, CUSTOMERS // 5, months_active=2)
    return platform


def run(*flags: str, log: Path | None = None) -> int | None:
    process = start_materialize(*flags, log=str(log) if log else "/dev/null")
    process.join(ENDS_WITHIN_SECONDS)
    return process.exitcode


def held(client: BytesRedis) -> dict[bytes, bytes]:
    """All that Redis holds, to be put back by `put_back`."""
    keys = list(client.scan_iter(count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.dump(key)
    return dict(zip(keys, pipeline.execute(), strict=True))


def put_back(client: BytesRedis, state: dict[bytes, bytes]) -> None:
    client.flushall()
    pipeline = client.pipeline(transaction=False)
    for key, serialized in state.items():
        pipeline.restore(key, 0, serialized)
    pipeline.execute()


def test_killed_at_thirty_random_moments_and_run_again_it_ends_in_the_same_bytes(
    two_months: OfflineStore, redis_client: BytesRedis
) -> None:
    assert run("--as-of", "2024-01-31") == 0
    january, january_state = dump(redis_client), held(redis_client)
    assert run() == 0
    undisturbed = dump(redis_client)
    assert undisturbed != january
    moments = random.Random(7)
    halfway = 0
    for number in range(KILLS):
        put_back(redis_client, january_state)
        writes = commands(redis_client) + moments.randrange(CUSTOMERS)
        process = start_materialize()
        if number % 5:
            while commands(redis_client) < writes and process.is_alive():
                pass
        else:
            process.join(moments.uniform(0.0, 0.2))
        process.kill()
        process.join(ENDS_WITHIN_SECONDS)
        halfway += dump(redis_client) not in (january, undisturbed)
        assert run() == 0
        assert dump(redis_client) == undisturbed
    assert halfway >= KILLS / 2, "the moments must hit what is being written, or this shows nothing"


def commands(client: BytesRedis) -> int:
    """How often a hash was written."""
    return int(client.info("commandstats").get("cmdstat_hset", {}).get("calls", 0))


def test_two_at_once_with_different_instants_end_as_if_one_had_followed_the_other(
    two_months: OfflineStore, redis_client: BytesRedis
) -> None:
    assert run("--as-of", "2024-01-31") == 0
    january = dump(redis_client)
    assert run("--as-of", "2024-02-29") == 0
    february = dump(redis_client)
    redis_client.flushall()
    both = [
        start_materialize("--as-of", "2024-01-31", "--rollback", "--lock-wait", "100"),
        start_materialize("--as-of", "2024-02-29", "--lock-wait", "100"),
    ]
    for process in both:
        process.join(ENDS_WITHIN_SECONDS)
    assert [process.exitcode for process in both] == [0, 0]
    query = "SELECT arguments ->> 'as_of' FROM ledger.runs WHERE state = 'succeeded' ORDER BY finished_at DESC LIMIT 1"
    last = two_months.connection.execute(query).fetchone()
    assert last is not None
    assert dump(redis_client) == (january if last[0] == "2024-01-31" else february)


def test_a_second_writer_that_does_not_want_to_wait_ends_with_75(
    two_months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    with psycopg.connect("", autocommit=True) as other:
        from jobs.lock import WRITER_LOCK

        other.execute("SELECT pg_advisory_lock(%s)", (WRITER_LOCK,))
        assert run("--lock-wait", "0", log=tmp_path / "log") == 75
    assert "another writer holds the lock" in (tmp_path / "log").read_text()
    assert dump(redis_client) == {}


def test_a_writer_whose_lock_connection_is_cut_stops_writing(
    two_months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    for number in range(1, 9):  # enough to be in the middle of it when the connection is cut
        fill(two_months, FEBRUARY, number * CUSTOMERS * 2, months_active=2)
    process = start_materialize("--as-of", "2024-02-29", log=str(tmp_path / "log"))
    wait_for_entities(redis_client, CUSTOMERS)
    cut = two_months.connection.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name LIKE '%writer lock' AND datname = current_database()"""
    )
    assert cut.fetchall() == [(True,)]
    process.join(ENDS_WITHIN_SECONDS)
    assert process.exitcode == 1
    assert "writer lock was lost" in (tmp_path / "log").read_text()
    assert len(dump(redis_client)) < 9 * CUSTOMERS, "it stopped before it was through"
    assert not redis_client.exists(STATUS)
    assert two_months.runs()[-1][1] == "failed"
    assert run("--as-of", "2024-02-29") == 0


def test_sigterm_ends_it_within_ten_seconds_and_the_ledger_says_so(
    two_months: OfflineStore, redis_client: BytesRedis
) -> None:
    for number in range(1, 9):
        fill(two_months, FEBRUARY, number * CUSTOMERS * 2, months_active=2)
    process = start_materialize("--as-of", "2024-02-29")
    wait_for_entities(redis_client, CUSTOMERS)
    process.terminate()
    process.join(10.0)
    assert process.exitcode == 1
    assert two_months.runs()[-1][1:3] == ("failed", 1)
    assert not redis_client.exists(STATUS)


def test_a_run_that_was_killed_is_marked_lost_by_the_next(two_months: OfflineStore, redis_client: BytesRedis) -> None:
    process = start_materialize("--as-of", "2024-02-29")
    wait_for_entities(redis_client, 1)
    process.kill()
    process.join(ENDS_WITHIN_SECONDS)
    assert run("--as-of", "2024-02-29") == 0
    assert [state for _, state, _, _ in two_months.runs()] == ["lost", "succeeded"]


def test_a_redis_that_restarts_empty_in_the_middle_fails_the_run_and_the_next_is_whole(
    two_months: OfflineStore, redis_client: BytesRedis, redis_server: RedisServer
) -> None:
    for number in range(1, 4):
        fill(two_months, FEBRUARY, number * CUSTOMERS * 2, months_active=2)
    assert run("--as-of", "2024-02-29") == 0
    undisturbed = dump(redis_client)
    redis_client.flushall()
    process = start_materialize("--as-of", "2024-02-29")
    wait_for_entities(redis_client, CUSTOMERS // 5)
    redis_server.stop()
    redis_server.start()
    process.join(ENDS_WITHIN_SECONDS)
    assert process.exitcode == 1
    assert not redis_client.exists(STATUS)
    assert run("--as-of", "2024-02-29") == 0
    assert dump(redis_client) == undisturbed


def wait_for_entities(client: BytesRedis, count: int) -> None:
    """That the run writes features; that it runs at all stands in Redis from its first moment on."""
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while client.dbsize() - client.exists(run_history_key(PROJECT)) < count:
        assert time.monotonic() < deadline, f"Redis never held {count} entities"
