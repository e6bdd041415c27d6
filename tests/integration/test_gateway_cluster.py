"""A Redis Cluster whose nodes come and go: a read is right, or refused, and right again once a node can answer."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.cluster import RedisCluster

from api import redis_address
from api.cluster_store import ClusterStore
from api.online_store import HashFields, HashRead
from api.problems import OnlineStoreUnavailable
from api.slots import slot
from jobs.process import LOOPBACK
from tests.process_support import wait_for
from tests.redis_kinds import SLOTS, RedisChild, StartRedis, form_cluster
from tests.tcp_gate import gates

FIELD = HashFields([b"field"])
KEYS = [b"key-%d" % number for number in range(40)]
RIGHT = [[key] for key in KEYS]


def fill(node: RedisChild) -> None:
    """Each key's field holds the key."""
    client: Any = RedisCluster(host=LOOPBACK, port=node.port)
    for key in KEYS:
        client.hset(key, "field", key)


def reads(keys: list[bytes]) -> list[HashRead]:
    return [(key, FIELD) for key in keys]


def over(address: str, test: Callable[[ClusterStore], Awaitable[None]]) -> None:
    """Run the test with a store over the cluster at this address."""

    async def main() -> None:
        store = ClusterStore(redis_address.parse(address))
        try:
            await asyncio.wait_for(test(store), 60)
        finally:
            await store.close()

    asyncio.run(main())


async def until_right(store: ClusterStore, keys: list[bytes]) -> None:
    """Return once the keys are read; until then they are refused, in time, or the test fails."""
    for _ in range(40):
        try:
            assert await store.read(reads(keys)) == [[key] for key in keys]
            return
        except OnlineStoreUnavailable:
            await asyncio.sleep(0.05)
    pytest.fail("the store is not read again")


def of(node: RedisChild, nodes: list[RedisChild]) -> list[bytes]:
    """The keys whose slots `form_cluster` gave to the node."""
    number = nodes.index(node)
    span = range(number * SLOTS // len(nodes), (number + 1) * SLOTS // len(nodes))
    return [key for key in KEYS if slot(key) in span]


def ids(*nodes: RedisChild) -> list[str]:
    return [node.client.execute_command("CLUSTER", "MYID").decode() for node in nodes]


def test_a_key_is_looked_for_where_redis_has_put_it(redis_children: StartRedis) -> None:
    client, generator = redis_children("--cluster-enabled", "yes").client, random.Random(1)
    keys = [bytes(generator.choices(b"{}ab\0\xff", k=generator.randrange(8))) for _ in range(2_000)]
    assert [slot(key) for key in keys] == [client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys]


def test_a_slot_is_followed_while_it_moves_and_no_read_fails(redis_children: StartRedis) -> None:
    nodes = form_cluster(redis_children, 2)
    fill(nodes[0])
    source, target = nodes
    source_id, target_id = ids(source, target)
    moving = of(source, nodes)[0]

    async def test(store: ClusterStore) -> None:
        async def both_ways() -> None:
            assert await store.read(reads([moving])) == [[moving]]
            assert await store.read(reads(KEYS)) == RIGHT

        await both_ways()
        target.client.execute_command("CLUSTER", "SETSLOT", slot(moving), "IMPORTING", source_id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot(moving), "MIGRATING", target_id)
        await both_ways()
        source.client.execute_command("MIGRATE", LOOPBACK, target.port, moving, 0, 5_000)
        await both_ways()
        for node in (target, source):
            node.client.execute_command("CLUSTER", "SETSLOT", slot(moving), "NODE", target_id)
        await both_ways()

    over(nodes[0].address, test)


def test_nodes_that_are_gone_at_the_start_and_come_later_are_found(redis_children: StartRedis) -> None:
    nodes = form_cluster(redis_children, 2)
    fill(nodes[0])
    with gates(2) as ways:
        for way, node in zip(ways, nodes, strict=True):
            way.lead_to(node.port)
            way.shut()

        async def test(store: ClusterStore) -> None:
            for _ in range(3):
                with pytest.raises(OnlineStoreUnavailable):
                    await store.read(reads(KEYS))
            await asyncio.to_thread(ways[1].pass_on)
            await until_right(store, KEYS)
            await asyncio.to_thread(ways[1].shut)
            assert await store.read(reads(KEYS)) == RIGHT

        over(",".join(way.address for way in ways), test)


def test_a_replica_that_takes_over_is_read_though_the_nodes_of_the_start_are_gone(redis_children: StartRedis) -> None:
    nodes = form_cluster(redis_children, 2)
    replica = redis_children("--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0")
    replica.client.execute_command("CLUSTER", "MEET", LOOPBACK, nodes[0].port)
    [master_id] = ids(nodes[0])
    wait_for(lambda: ids(nodes[0])[0] in known(replica), "the replica knows its master")
    wait_for(lambda: ids(replica)[0] in known(nodes[1]), "the other master knows the replica")
    replica.client.execute_command("CLUSTER", "REPLICATE", master_id)
    wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica follows")
    wait_for(lambda: agree_on_epochs(*nodes, replica), "a takeover is believed by all")
    fill(nodes[0])
    wait_for(lambda: replica.client.dbsize() == nodes[0].client.dbsize(), "the replica is filled")

    def taken_over() -> bool:
        return replica.port in serving(nodes[1]) and replica.is_whole() and nodes[1].is_whole()

    with gates(1) as [way]:
        way.lead_to(nodes[0].port)

        async def test(store: ClusterStore) -> None:
            assert await store.read(reads(KEYS)) == RIGHT
            way.shut()
            await asyncio.to_thread(nodes[0].stop)
            assert await store.read(reads(of(nodes[1], nodes))) == [[key] for key in of(nodes[1], nodes)]
            with pytest.raises(OnlineStoreUnavailable):
                await store.read(reads(KEYS))
            replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
            await asyncio.to_thread(
                wait_for, taken_over, "it has taken over, and both take the cluster to be whole", 90
            )
            await until_right(store, KEYS)

        over(way.address, test)


def known(node: RedisChild) -> str:
    """What the node says of all that it knows."""
    lines: bytes = node.client.execute_command("CLUSTER", "NODES")
    return lines.decode()


def agree_on_epochs(*nodes: RedisChild) -> bool:
    """Whether each master of the first two has an epoch of its own, and all know of the latest."""
    texts = [node.client.execute_command("CLUSTER", "INFO").decode() for node in nodes]
    infos = [dict(line.split(":") for line in text.split()) for text in texts]
    own, latest = ([info[f"cluster_{name}_epoch"] for info in infos] for name in ("my", "current"))
    return own[0] != own[1] and len(set(latest)) == 1


def serving(node: RedisChild) -> set[int]:
    """The ports of those that serve slots, as the node sees it."""
    return {master[1] for _, _, master, *_ in node.client.execute_command("CLUSTER", "SLOTS")}


def test_a_cluster_that_is_replaced_by_another_behind_the_same_address_is_read(redis_children: StartRedis) -> None:
    [old], [new] = form_cluster(redis_children, 1), form_cluster(redis_children, 1)
    fill(old)
    fill(new)
    with gates(1) as [way]:
        way.lead_to(old.port)

        async def test(store: ClusterStore) -> None:
            assert await store.read(reads(KEYS)) == RIGHT
            way.lead_to(new.port)
            await asyncio.to_thread(old.stop)
            await until_right(store, KEYS)

        over(way.address, test)


def test_a_node_that_hangs_costs_nobody_the_keys_of_the_others(redis_children: StartRedis) -> None:
    nodes = form_cluster(redis_children, 2)
    fill(nodes[0])

    async def test(store: ClusterStore) -> None:
        assert await store.read(reads(KEYS)) == RIGHT
        os.kill(nodes[1].process.pid, signal.SIGSTOP)
        try:
            hanging = [store.read(reads([key])) for key in of(nodes[1], nodes) * 20]
            others = [store.read(reads([key])) for key in of(nodes[0], nodes) * 20]
            ended = await asyncio.gather(*hanging, *others, return_exceptions=True)
            assert {type(one) for one in ended[: len(hanging)]} == {OnlineStoreUnavailable}
            assert ended[len(hanging) :] == [[[key]] for key in of(nodes[0], nodes) * 20]
        finally:
            os.kill(nodes[1].process.pid, signal.SIGCONT)
        await until_right(store, KEYS)

    over(nodes[0].address, test)


def test_a_slot_that_nobody_serves_costs_no_other_key(redis_children: StartRedis) -> None:
    nodes = form_cluster(redis_children, 2)
    fill(nodes[0])
    lost, *others = of(nodes[0], nodes)
    others = [key for key in others if slot(key) != slot(lost)]

    def give_up_slot() -> None:
        for node in nodes:
            node.client.config_set("cluster-require-full-coverage", "no")
        for node in nodes:
            node.client.execute_command("CLUSTER", "DELSLOTS", slot(lost))

    async def test(store: ClusterStore) -> None:
        give_up_slot()
        with pytest.raises(OnlineStoreUnavailable):
            await store.read(reads([lost]))
        assert await store.read(reads(others)) == [[key] for key in others]
        nodes[0].client.execute_command("CLUSTER", "ADDSLOTS", slot(lost))
        await until_right(store, [lost])

    over(nodes[0].address, test)
