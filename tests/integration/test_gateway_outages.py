"""The same promises for each kind of online store, whatever trouble it is in: away, slow, or refusing commands.

The gateway starts without it, answers 503 in time, keeps nothing open, and is right again when it is back.
"""

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from api.gateway import Gateway
from api.online_store import HashFields, HashRead, OnlineStore
from api.problems import OnlineStoreUnavailable
from api.settings import Settings
from jobs.process import LOOPBACK
from tests import gateway_support as support
from tests.gateway_support import GatewayProcess, refused
from tests.process_support import wait_for
from tests.redis_kinds import SLOTS, StartRedis
from tests.tcp_gate import Gate, gates

PASSWORD = "secret"


@dataclass
class Store:
    """A Redis of some kind, full, that the gateway reaches by its gates only."""

    kind: str
    gates: list[Gate]
    client: Any
    others: int = 0
    """Connections by the gates that are not the gateway's, but a Sentinel's."""

    @property
    def address(self) -> str:
        """Of the gate that the gateway comes to first."""
        return f"{self.gates[-1].address},password={PASSWORD}"

    @property
    def open(self) -> int:
        """Connections that nobody has closed, those of a Sentinel among them."""
        return sum(gate.open for gate in self.gates)

    @property
    def accepted(self) -> int:
        return sum(gate.accepted for gate in self.gates)

    @property
    def environment(self) -> dict[str, str]:
        return {support.CONNECTION: self.address, "FEATURE_PLATFORM_REDIS_TYPE": self.kind}

    def recover(self) -> None:
        for gate in self.gates:
            gate.pass_on()


def alone(start: StartRedis, ways: list[Gate]) -> Store:
    return Store("redis", ways[:1], _server(start, ways[0]))


def behind_sentinel(start: StartRedis, ways: list[Gate]) -> Store:
    client = _server(start, ways[0])
    # The Sentinel has no patience with nobody: what a test does to the way is no reason for a failover.
    watch = f"sentinel monitor mymaster {LOOPBACK} {ways[0].port} 1\nsentinel auth-pass mymaster {PASSWORD}\n"
    sentinel = start("--sentinel", configuration=f"{watch}sentinel down-after-milliseconds mymaster 600000\n")
    wait_for(lambda: sentinel.client.sentinel_masters(), "Sentinel watches the master")
    ways[1].lead_to(sentinel.port)
    return Store("redis_sentinel", ways, client, others=2)


def cluster(start: StartRedis, ways: list[Gate]) -> Store:
    client = _server(start, ways[0], "--cluster-enabled", "yes", "--cluster-announce-port", str(ways[0].port))
    client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
    wait_for(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "the cluster is whole")
    return Store("redis_cluster", ways[:1], client)


def _server(start: StartRedis, way: Gate, *arguments: str) -> redis.Redis:
    """The client of a server that asks for the password."""
    server = start(*arguments)
    server.client.config_set("requirepass", PASSWORD)
    way.lead_to(server.port)
    return redis.Redis(host=LOOPBACK, port=server.port, password=PASSWORD)


KINDS: dict[str, Callable[[StartRedis, list[Gate]], Store]] = {
    "redis": alone, "redis_sentinel": behind_sentinel, "redis_cluster": cluster,
}  # fmt: skip


@pytest.fixture
def store(request: pytest.FixtureRequest, redis_children: StartRedis) -> Iterator[Store]:
    """A store of the kind that the test is parametrized by."""
    with gates(2) as ways:
        made = KINDS[request.param](redis_children, ways)
        support.seed(made.client)
        yield made


def away(store: Store) -> None:
    for gate in store.gates:
        gate.shut()


def slow(store: Store) -> None:
    """Connections are taken, AUTH and all else is not answered."""
    for gate in store.gates:
        gate.mute = True


def loading(store: Store) -> None:
    for gate in store.gates:
        gate.refusal = b"LOADING Redis is loading the dataset in memory"


def late(store: Store) -> None:
    """The connection is lost, and each answer comes so late that a caller waits for no two."""
    store.gates[0].shut()
    store.recover()
    for gate in store.gates:
        gate.delay = 0.15


def slow_master(store: Store) -> None:
    """Only the way to the data, where the way to a Sentinel is another."""
    store.gates[0].mute = True


Trouble = Callable[[Store], None]


def in_each_kind(*troubles: Trouble) -> pytest.MarkDecorator:
    """Each of the troubles in each kind of store; `slow_master` where there is another way beside the one to it."""
    cases = [(kind, trouble) for kind in KINDS for trouble in troubles]
    cases = [case for case in cases if case != ("redis", slow_master) and case != ("redis_cluster", slow_master)]
    return pytest.mark.parametrize(("store", "trouble"), cases, indirect=["store"])


@contextlib.contextmanager
def gateway_of(store: Store, folder: Path) -> Iterator[GatewayProcess]:
    with support.gateway_process(folder / "log", **store.environment) as gateway:
        yield gateway
    assert "Traceback" not in gateway.log.read_text()


def is_right(gateway: GatewayProcess) -> bool:
    answer = gateway.http.get("/features/u1")
    if answer.status_code == 200:
        assert answer.json()["features"]["devices"] == 2
        return True
    refused(answer, 503)
    return False


@in_each_kind(away, slow, slow_master, loading)
def test_a_gateway_starts_while_the_store_is_in_trouble_and_is_right_once_it_is_not(
    store: Store, trouble: Trouble, tmp_path: Path
) -> None:
    trouble(store)
    with gateway_of(store, tmp_path) as gateway:
        assert gateway.http.get("/livez").status_code == 200
        refused(gateway.http.get("/readyz"), 503)
        refused(gateway.http.get("/features/u1"), 503)
        store.recover()
        support.wait_for(lambda: is_right(gateway), 5 * 1.0)
        assert gateway.http.get("/readyz").status_code == 200


@in_each_kind(away, slow, slow_master, loading)
def test_while_the_store_is_in_trouble_reads_are_refused_in_time_and_all_is_right_once_it_is_not(
    store: Store, trouble: Trouble, tmp_path: Path
) -> None:
    with gateway_of(store, tmp_path) as gateway:
        gateway.wait_ready()
        assert is_right(gateway)
        trouble(store)
        many = {"entities": {"user_id": ["u1"] * 500}}
        for _ in range(3):
            started = time.monotonic()
            refused(gateway.http.get("/features/u1"), 503, "online store")
            refused(gateway.http.get("/features/u1?metadata=true"), 503, "online store")
            refused(gateway.http.post("/features", json=many), 503, "online store")
            assert time.monotonic() - started < 5 * 3 * 0.3
        assert gateway.http.get("/readyz").status_code == 200
        assert gateway.http.get("/status").json()["online_store"] == "unreachable"
        version = support.publish(store.client, support.plan(description="another"))
        store.recover()
        support.wait_for(lambda: is_right(gateway), 5 * 1.0)
        wait_for(lambda: gateway.http.get("/status").json()["plan"]["version"] == version, "the plan watch goes on")
        assert gateway.http.post("/features", json=many).status_code == 200
        assert gateway.http.get("/status").json()["online_store"] == "reachable"


@in_each_kind(slow, slow_master, late)
def test_a_store_that_is_slow_to_authenticate_leaves_no_connections_behind(
    store: Store, trouble: Trouble, tmp_path: Path
) -> None:
    with gateway_of(store, tmp_path) as gateway, concurrent.futures.ThreadPoolExecutor(8) as pool:
        gateway.wait_ready()
        before = sockets(gateway)
        trouble(store)
        end, most = time.monotonic() + 3, 0
        while time.monotonic() < end:
            list(pool.map(lambda _: is_right(gateway), range(8)))
            most = max(most, sockets(gateway) - before)
        assert most <= 8  # those of seven more callers, and one
        store.recover()
        support.wait_for(lambda: is_right(gateway), 5 * 1.0)


def sockets(gateway: GatewayProcess) -> int:
    """Sockets that the process holds open."""
    found = 0
    for entry in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("socket:")
    return found


# --- the store itself, in this process


ONE: list[HashRead] = [(b"key", HashFields([b"field"]))]


def over(store: Store, test: Callable[[OnlineStore], Awaitable[None]], address: str = "") -> None:
    """Run the test with the gateway's own store, over this address or the store's."""
    settings = Settings(
        project=support.PROJECT, redis_connection_string=address or store.address, redis_type=store.kind
    )

    async def main() -> None:
        online = Gateway(settings).store
        try:
            await asyncio.wait_for(test(online), 60)
        finally:
            await online.close()

    asyncio.run(main())
    wait_for(lambda: store.open == store.others, "every connection is closed at the end")


async def until_read(online: OnlineStore) -> None:
    """Return once the store is read; until then it is refused, or the test fails."""
    for _ in range(100):
        try:
            assert await online.read(ONE) == [[b"value"]]
            return
        except OnlineStoreUnavailable:
            await asyncio.sleep(0.05)
    pytest.fail("the store is not read again")


@in_each_kind(away, slow, slow_master)
def test_many_who_ask_at_once_of_a_store_in_trouble_make_one_connection_do(store: Store, trouble: Trouble) -> None:
    store.client.hset("key", "field", "value")

    async def test(online: OnlineStore) -> None:
        trouble(store)
        before = store.accepted
        ended = await asyncio.gather(*(online.read(ONE) for _ in range(500)), return_exceptions=True)
        assert {type(one) for one in ended} == {OnlineStoreUnavailable}
        # A Sentinel is asked with the servers' login and without, at once.
        assert store.accepted - before <= 2 * len(store.gates)
        store.recover()
        await until_read(online)

    over(store, test)


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_a_caller_that_goes_away_at_any_moment_breaks_nothing_and_leaves_nothing_open(store: Store) -> None:
    store.client.hset("key", "field", "value")

    async def test(online: OnlineStore) -> None:
        for turns in range(60):
            if turns % 10 == 0:
                away(store)
                store.recover()
                for gate in store.gates:
                    gate.delay = 0.01
            asked = [asyncio.create_task(online.read(ONE)) for _ in range(3)]
            await asyncio.sleep(0.001 * turns)
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        store.recover()
        await until_read(online)

    over(store, test)


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_a_store_that_refuses_a_command_is_right_again_once_it_does_not(store: Store) -> None:
    store.client.hset("key", "field", "value")

    async def test(online: OnlineStore) -> None:
        await until_read(online)
        store.client.execute_command("ACL", "SETUSER", "default", "-hmget")
        for reads in (ONE, ONE * 3):
            with pytest.raises(OnlineStoreUnavailable):
                await online.read(reads)
        store.client.execute_command("ACL", "SETUSER", "default", "+hmget")
        await until_read(online)

    over(store, test)


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_a_store_that_wants_a_password_which_is_not_given_is_right_once_it_does_not(store: Store) -> None:
    store.client.hset("key", "field", "value")

    async def test(online: OnlineStore) -> None:
        for _ in range(3):
            with pytest.raises(OnlineStoreUnavailable):
                await online.read(ONE)
        store.client.config_set("requirepass", "")
        await until_read(online)

    over(store, test, store.gates[-1].address)


@pytest.mark.parametrize("store", ["redis_cluster"], indirect=True)
def test_a_cluster_that_is_down_is_right_once_it_is_up(store: Store) -> None:
    store.client.hset("key", "field", "value")

    def has_state(state: bytes) -> bool:
        return b"cluster_state:" + state in store.client.execute_command("CLUSTER", "INFO")

    async def test(online: OnlineStore) -> None:
        await until_read(online)
        store.client.execute_command("CLUSTER", "DELSLOTS", 0)
        await asyncio.to_thread(wait_for, lambda: has_state(b"fail"), "the cluster is down")
        with pytest.raises(OnlineStoreUnavailable):
            await online.read(ONE)
        store.client.execute_command("CLUSTER", "ADDSLOTS", 0)
        await asyncio.to_thread(wait_for, lambda: has_state(b"ok"), "the cluster is up")
        await until_read(online)

    over(store, test)


@pytest.mark.parametrize("store", ["redis_sentinel"], indirect=True)
@pytest.mark.parametrize("trouble", [away, slow, loading])
def test_a_sentinel_in_trouble_keeps_nobody_from_what_the_next_one_knows(store: Store, trouble: Trouble) -> None:
    store.client.hset("key", "field", "value")
    to_sentinel = store.gates[1]

    async def test(online: OnlineStore) -> None:
        trouble(Store(store.kind, [to_sentinel], store.client))
        assert await online.read(ONE) == [[b"value"]]

    with gates(1) as [another]:
        another.lead_to(to_sentinel.server_port)
        over(store, test, f"{to_sentinel.address},{another.address},password={PASSWORD}")
