"""The kinds of Redis that the gateway reads from: with ACL users, behind Sentinel, and as a cluster."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from api.gateway import Gateway
from api.link import MOST_OUTSTANDING
from api.online_store import HashFields
from api.problems import OnlineStoreUnavailable, Overloaded
from jobs.local.servers import RedisServer
from jobs.process import LOOPBACK
from tests import gateway_support as support
from tests.gateway_support import refused
from tests.redis_kinds import StartRedis, form_cluster


def environment(address: str, kind: str) -> dict[str, str]:
    return {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": address, "FEATURE_PLATFORM_REDIS_TYPE": kind}


def test_two_commands_are_all_that_its_redis_user_needs(
    redis_client: redis.Redis, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    support.seed(redis_client)
    redis_client.execute_command("ACL", "SETUSER", "gateway", "on", ">0123", "~*", "-@all", "+hmget", "+hgetall")
    address = f"{redis_server.host}:{redis_server.port},username=gateway,password="
    monkeypatch.setenv(support.CONNECTION, f"{address}0123")
    with support.in_process() as http:
        assert http.get("/features/u1").json()["features"]["devices"] == 2
        assert len(http.post("/features", json={"entities": {"user_id": ["u1", "u2"]}}).json()["results"]) == 2
    monkeypatch.setenv(support.CONNECTION, f"{address}wrong")
    with support.in_process(wait=False) as http:
        refused(http.get("/readyz"), 503)
    redis_client.execute_command("ACL", "DELUSER", "gateway")


def test_it_stops_at_any_moment_while_redis_refuses_its_password(
    redis_client: redis.Redis, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(support.CONNECTION, f"{redis_server.host}:{redis_server.port},password=wrong")

    async def start_and_stop(turns: int) -> None:
        async with Gateway(support.settings()).running():
            for _ in range(turns):
                await asyncio.sleep(0)

    async def at_many_moments() -> None:
        for turns in range(100):
            await asyncio.wait_for(start_and_stop(turns % 50), 5)

    asyncio.run(at_many_moments())


def test_a_rejected_plan_is_logged_once_however_often_it_is_seen(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    support.publish(redis_client, support.plan(format=2))

    async def look_three_times() -> None:
        gateway = Gateway(support.settings())
        for _ in range(3):
            await gateway.plans.refresh()
        await gateway.store.close()

    asyncio.run(look_three_times())
    assert [record.message for record in caplog.records].count("plan_rejected") == 1


def test_more_reads_than_may_wait_are_refused_at_once_and_the_others_wait(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(support.CONNECTION, own_redis.connection_string)

    async def read(count: int) -> list[Any]:
        store = Gateway(support.settings()).store
        one = (b"key", HashFields([b"field"]))
        assert await store.read([one]) == [[None]]
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            return await asyncio.gather(*(store.read([one]) for _ in range(count)), return_exceptions=True)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
            await store.close()

    kinds = [type(answer) for answer in asyncio.run(read(MOST_OUTSTANDING + 7))]
    assert kinds == [OnlineStoreUnavailable] * MOST_OUTSTANDING + [Overloaded] * 7


def test_the_plan_watch_outlives_a_store_that_hangs_while_as_many_wait_as_may(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password)
    support.seed(client)
    monkeypatch.setenv(support.CONNECTION, own_redis.connection_string)

    async def look() -> None:
        gateway = Gateway(support.settings())
        assert await gateway.plans.refresh()
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            one = (b"key", HashFields([b"field"]))
            waiting = [asyncio.ensure_future(gateway.store.read([one])) for _ in range(MOST_OUTSTANDING)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await gateway.store.read([one])
            assert not await gateway.plans.refresh()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert await gateway.plans.refresh()
        await gateway.store.close()

    asyncio.run(look())


def test_a_command_that_redis_refuses_is_503_on_each_way_and_right_again_later(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    client = redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password)
    support.seed(client)
    with support.gateway_process(tmp_path / "log", **environment(own_redis.connection_string, "redis")) as gateway:
        gateway.wait_ready()
        many = {"entities": {"user_id": ["u1", "u1"]}}
        client.execute_command("ACL", "SETUSER", "default", "-hmget")
        for path in ("/features/u1", "/features/u1?metadata=true"):
            refused(gateway.http.get(path), 503)
        refused(gateway.http.post("/features", json=many), 503)
        client.execute_command("ACL", "SETUSER", "default", "+hmget")
        assert gateway.http.get("/features/u1").status_code == 200
        assert gateway.http.post("/features", json=many).status_code == 200


def test_another_database_is_read_under_a_name_when_the_address_says_so(
    redis_client: redis.Redis, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = redis.Redis(host=redis_server.host, port=redis_server.port, password=redis_server.password, db=3)
    support.seed(third)
    monkeypatch.setenv(support.CONNECTION, f"{redis_server.connection_string},db=3,client_name=features")
    with support.in_process() as http:
        assert http.get("/features/u1").status_code == 200
        clients: Any = third.client_list()
    assert [client["db"] for client in clients if client["name"] == "features"] == ["3"]


def test_a_cluster_is_read(redis_children: StartRedis, tmp_path: Path) -> None:
    nodes = form_cluster(redis_children, 2)
    cluster: Any = RedisCluster(host=LOOPBACK, port=nodes[0].port)
    support.seed(cluster)
    users = [f"user-{number}" for number in range(50)]
    for user in users:
        support.write(cluster, "usage", support.user(user), support.USAGE)
    assert all(node.client.dbsize() > 10 for node in nodes)
    with support.gateway_process(tmp_path / "log", **environment(nodes[0].address, "redis_cluster")) as gateway:
        gateway.wait_ready()
        rows = gateway.http.post("/features", json={"entities": {"user_id": users}}).json()["results"]
        assert [row["features"]["devices"] for row in rows] == [2] * 50
        assert gateway.http.get("/features/u1").status_code == 200
        refused(gateway.http.get("/features/nobody"), 404)
        nodes[1].stop()
        assert {gateway.http.get(f"/features/{user}").status_code for user in users} <= {200, 503}


def test_sentinels_new_master_is_followed(redis_children: StartRedis, tmp_path: Path) -> None:
    master = redis_children()
    replica = redis_children("--replicaof", LOOPBACK, str(master.port), "--repl-diskless-sync-delay", "0")
    support.seed(master.client)
    support.wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up")
    support.wait_for(lambda: replica.client.dbsize() == master.client.dbsize())
    watch = f"sentinel monitor ours {LOOPBACK} {master.port} 1\nsentinel down-after-milliseconds ours 500\n"
    sentinel = redis_children("--sentinel", configuration=watch + "sentinel failover-timeout ours 2000\n")
    support.wait_for(lambda: sentinel.client.sentinel_slaves("ours"))
    variables = environment(sentinel.address, "redis_sentinel") | {"FEATURE_PLATFORM_REDIS_SENTINEL_MASTER": "ours"}
    with support.gateway_process(tmp_path / "log", **variables) as gateway:
        gateway.wait_ready()
        assert gateway.http.get("/features/u1").status_code == 200
        master.stop()
        refused(gateway.http.get("/features/u1"), 503)
        support.wait_for(lambda: gateway.http.get("/features/u1").status_code == 200, 30)
        assert replica.client.info("replication")["role"] == "master"
