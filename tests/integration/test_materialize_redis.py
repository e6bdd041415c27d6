"""The kinds of Redis that `materialize` writes to: with an ACL user, another database, behind Sentinel, a cluster."""

from typing import cast

import pytest
import redis
from redis.cluster import RedisCluster

from jobs import materialize
from jobs.local.servers import RedisServer
from jobs.process import LOOPBACK
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.offline import FEBRUARY, JANUARY, MARCH, OfflineStore, dump
from tests.process_support import wait_for
from tests.redis_kinds import StartRedis, form_cluster

CONNECTION = "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"
USERS = [f"user-{number}" for number in range(50)]


@pytest.fixture
def expected(platform: OfflineStore, redis_client: BytesRedis) -> dict[bytes, dict[bytes, bytes]]:
    """What a single Redis holds after February and March, in which a fifth of the users left."""
    platform.many(USERS, JANUARY)
    platform.many(USERS[:40], MARCH, months_active=3)
    show_both_months()
    held = dump(redis_client)
    redis_client.flushall()
    return held


def show_both_months() -> None:
    assert materialize.main(["--as-of", FEBRUARY.isoformat()]) == 0
    assert materialize.main(["--as-of", MARCH.isoformat()]) == 0


def test_a_cluster_holds_what_a_single_redis_holds(
    expected: dict[bytes, dict[bytes, bytes]], redis_children: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = form_cluster(redis_children, 3)
    monkeypatch.setenv(CONNECTION, ",".join(node.address for node in nodes))
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_TYPE", "redis_cluster")
    show_both_months()
    cluster = cast(BytesRedis, RedisCluster(host=LOOPBACK, port=nodes[0].port))
    assert dump(cluster) == expected
    assert all(node.client.dbsize() for node in nodes), "its keys are spread over all of its nodes"


def test_the_master_is_found_through_sentinel(
    expected: dict[bytes, dict[bytes, bytes]], redis_children: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = redis_children()
    sentinel = redis_children("--sentinel", configuration=f"sentinel monitor ours {LOOPBACK} {master.port} 1\n")
    wait_for(lambda: sentinel.client.sentinel_masters(), "Sentinel watches the master")
    monkeypatch.setenv(CONNECTION, sentinel.address)
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_TYPE", "redis_sentinel")
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_SENTINEL_MASTER", "ours")
    show_both_months()
    assert dump(cast(BytesRedis, master.client)) == expected


def test_a_user_who_may_only_scan_and_write_hashes_is_enough_in_any_database(
    expected: dict[bytes, dict[bytes, bytes]],
    redis_client: redis.Redis,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = ("ping", "select", "scan", "dbsize", "hget", "hmget", "hgetall", "hvals", "hset", "hdel")
    rights = ["-@all", *(f"+{command}" for command in commands)]
    redis_client.execute_command("ACL", "SETUSER", "jobs", "on", ">0123", "~*", *rights)
    address = f"{redis_server.host}:{redis_server.port},username=jobs,password=0123,db=3"
    monkeypatch.setenv(CONNECTION, address)
    try:
        show_both_months()
    finally:
        redis_client.execute_command("ACL", "DELUSER", "jobs")
    third = redis.Redis(host=redis_server.host, port=redis_server.port, password=redis_server.password, db=3)
    assert dump(cast(BytesRedis, third)) == expected
    assert f"feature-platform:{PROJECT}:plan".encode() in expected
